"""Statistics: comparisons, races, regret, false discovery."""
