"""ImageNet as this network was trained on it: the numbers of the evaluation transform.

Source: torchvision's reference recipe, which the guide's preprocessing repeats.
"""

RESIZE = 256  # short side after the resize, pixels
CROP = 224  # side of the centre crop, pixels
MEAN = (0.485, 0.456, 0.406)  # RGB, of values in 0..1
STD = (0.229, 0.224, 0.225)
