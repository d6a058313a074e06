"""What the stages share; nothing in here knows a command line (but `__main__`).

One room per concern. Stages talk to each other through files only, so a room reads or writes
one kind of file, or does one kind of work, and says so in its first line.
"""

import os

# ONNX Runtime's wheels send usage events to their maker, and leave a file in the folder for
# temporary files, unless this is set before the package is first imported (its Privacy.md). Work
# that calls itself offline does neither; whoever wants the events sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
