"""The scope of a study: a first look at its ranges, on tasks that are never judged."""
