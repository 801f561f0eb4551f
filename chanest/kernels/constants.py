"""Numbers that the features of NA-SBL and of the error calibrations share, compiled or not."""

N_OWN, N_SHARED = 6, 6  # features of a tap of NA-SBL, and of all taps
LOG_SCALE = 6.0  # divides logarithmic features
REFERENCE_PILOTS = 75  # their number at which the feature of it is zero
LARGEST_EXPONENT = 20.0  # of a perceptron's factor: float32 and its gradient stay finite
OCCUPIED_MARGIN, EXPLAINED_MARGIN = 1e-6, 1e-4  # how near to 0 and 1 a share may come before its logit is taken
