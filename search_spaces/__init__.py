"""What can vary: factors, their levels, the numbers these open."""

from search_spaces.precedence import claim

claim(__name__)
