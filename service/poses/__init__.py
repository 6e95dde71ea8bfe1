"""One photo -> people; where HTTP and the command line enter."""
