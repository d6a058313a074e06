"""The designs that we are measured against, each written anew from what it is known to do."""
