"""A photo's way in: bytes -> pixels -> crops; knows no options and no HTTP."""
