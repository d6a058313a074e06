"""Two or more runs side by side: what changed in settings, accuracy, speed, and single answers.

`sides` reads what is given, `settings`, `accuracy` and `speed` compare each with the first, the
base; `gate` holds what was found against limits, `tables` and `forms` show it.
"""
