"""What the stages share; nothing in here knows a command line (but `__main__`).

One room per concern. Stages talk to each other through files only, so a room reads or writes
one kind of file, or does one kind of work, and says so in its first line.
"""
