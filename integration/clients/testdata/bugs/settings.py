"""The settings of a client: NAME=VALUE arguments, numbers as numbers."""
import sys

host = sys.argv[1]
settings = {}
for argument in sys.argv[2:]:
    name, _, value = argument.partition("=")
    settings[name] = value == "True" if value in ("True", "False") else float(value) if "." in value else int(value) if value.isdigit() else value


def say(error):
    print(type(error).__name__ + ": " + str(error), flush=True)
