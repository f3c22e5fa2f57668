"""`python -m service` is `flash-sale`."""

from service.cli import main

if __name__ == "__main__":
    main()
