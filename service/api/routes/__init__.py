"""The routes: HTTP words on one side, the service's own on the other."""
