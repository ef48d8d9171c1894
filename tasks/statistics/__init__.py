"""Pure functions from episodes to statements: intervals, comparisons, rankings."""
