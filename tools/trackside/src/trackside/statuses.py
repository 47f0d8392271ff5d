"""The status texts of a result since 2024, with their numbers at Jolpica."""

FINISHED = "Finished"
DISQUALIFIED = "Disqualified"
RETIRED = "Retired"
DID_NOT_START = "Did not start"
LAPPED = "Lapped"

STATUS_IDS = {FINISHED: "1", DISQUALIFIED: "2", RETIRED: "31", DID_NOT_START: "142", LAPPED: "143"}
