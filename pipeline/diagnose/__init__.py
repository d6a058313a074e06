"""Why is a converted model less accurate? The first place where its numbers part from the source's.

The chain is walked from the image files to the labels. What another pipeline made on the way, its
`.bin` files and its dumps, is compared with what this project makes of the same images; where they
differ, known ways to go wrong are tried until one explains the numbers.
"""
