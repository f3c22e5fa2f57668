"""`python -m service` is `flash-sale`."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        # Python put the current directory first; what lies there is no part of this program.
        del sys.path[0]

    from service.cli import main

    main()
