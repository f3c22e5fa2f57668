// Loads a compose file with the library that Docker Compose itself uses, and prints it as JSON: every profile on, the
// specification's schema and consistency rules applied. Status 1 and one line when it is not valid.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions(os.Args[1:], cli.WithProfiles([]string{"*"}), cli.WithResolvedPaths(true))
	if err == nil {
		project, loaded := options.LoadProject(context.Background())
		if err = loaded; err == nil {
			text, failed := project.MarshalJSON()
			fmt.Println(string(text))
			err = failed
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
