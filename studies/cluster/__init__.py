"""What a study on a cluster needs besides: the way there, what it finds there, how it stands."""
