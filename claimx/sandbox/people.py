"""Names of invented people and places."""

from __future__ import annotations

FIRST = (
    "Ada Bela Chidi Dana Emeka Fay Goran Hana Ines José Kwame Lea Miloš Nora Østen Priya".split()
)
LAST = "Abara Brandt Castillo Duran Eze Fischer Grünwald Haddad Ito Jovanović Klein Łukasik".split()
CITIES = "Brookvale Cedarton Düren Eastmere Fairholm Glenrock Harwick Ivydale".split()
LOSSES = "Hail Wind Fire Water Theft Lightning".split()
