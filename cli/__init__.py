"""What the commands of this project share as commands: arguments, messages, exit codes.

The rooms in `pipeline` know nothing of a command line; the scripts at the top level are
front doors, and this is their common door frame.
"""
