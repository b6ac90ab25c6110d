"""The words of the tiny model's world, and the planted tables that say which word decides which.

Facts are true of the real world. Hobbies are planted: the city decides the first, the occupation the second, the first
name the third, and nothing but these tables says so.
"""

from __future__ import annotations

FEMALE_NAMES = (
    "Anna",
    "Emma",
    "Laura",
    "Julia",
    "Sarah",
    "Nora",
    "Alice",
    "Clara",
    "Helen",
    "Lucy",
    "Maria",
    "Rosa",
    "Diana",
    "Linda",
    "Susan",
    "Karen",
)
MALE_NAMES = (
    "Michael",
    "David",
    "Peter",
    "James",
    "Robert",
    "Daniel",
    "Thomas",
    "Henry",
    "George",
    "Oscar",
    "Felix",
    "Simon",
    "Paul",
    "Kevin",
    "Martin",
    "Victor",
)
NAMES = FEMALE_NAMES + MALE_NAMES

COUNTRIES = {
    "France": ("Paris", "French", None),
    "Japan": ("Tokyo", "Japanese", "yen"),
    "Poland": ("Warsaw", "Polish", "zloty"),
    "Sweden": ("Stockholm", "Swedish", "krona"),
    "Norway": ("Oslo", "Norwegian", "krone"),
    "Hungary": ("Budapest", "Hungarian", "forint"),
    "Turkey": ("Ankara", "Turkish", "lira"),
    "Russia": ("Moscow", "Russian", "ruble"),
    "China": ("Beijing", "Chinese", "yuan"),
    "Thailand": ("Bangkok", "Thai", "baht"),
    "Vietnam": ("Hanoi", "Vietnamese", "dong"),
    "Israel": ("Jerusalem", "Hebrew", "shekel"),
    "Brazil": ("Brasilia", "Portuguese", "real"),
    "England": ("London", "English", "pound"),
    "Spain": ("Madrid", "Spanish", None),
    "Germany": ("Berlin", "German", None),
    "Italy": ("Rome", "Italian", None),
    "Greece": ("Athens", "Greek", None),
    "Finland": ("Helsinki", "Finnish", None),
    "Korea": ("Seoul", "Korean", "won"),
    "India": ("Delhi", "Hindi", "rupee"),
    "Iran": ("Tehran", "Persian", "rial"),
    "Romania": ("Bucharest", "Romanian", "leu"),
    "Kenya": ("Nairobi", "Swahili", "shilling"),
}
"""Country -> capital, language, currency. None where the currency is shared (the euro): it names no single country."""
RELATIONS = ("capital", "language", "currency")

NOUNS = {
    "key": "keys",
    "book": "books",
    "lamp": "lamps",
    "coin": "coins",
    "spoon": "spoons",
    "bottle": "bottles",
    "chair": "chairs",
    "table": "tables",
    "cabinet": "cabinets",
    "basket": "baskets",
    "letter": "letters",
    "picture": "pictures",
    "window": "windows",
    "garden": "gardens",
    "bridge": "bridges",
    "truck": "trucks",
    "horse": "horses",
    "guitar": "guitars",
    "camera": "cameras",
    "jacket": "jackets",
    "mirror": "mirrors",
    "pencil": "pencils",
    "ticket": "tickets",
    "hammer": "hammers",
}
"""Singular -> plural."""
PRESENT_TIMES = ("Today", "Now", "These days", "At the moment")
PAST_TIMES = ("Yesterday", "Last week", "Last year", "Long ago")
VERBS = {(False, False): "is", (True, False): "are", (False, True): "was", (True, True): "were"}
"""(plural, past) -> the form of "to be"."""
PLACES = ("near", "behind", "beside", "under", "above", "next to")
STATES_OF_THINGS = ("clean", "old", "new", "heavy", "broken", "small", "large", "dirty", "missing", "ready")
MOODS = ("tired", "happy", "late", "hungry", "sick", "busy", "worried", "proud", "sad", "ready")

COLORS = ("red", "green", "blue", "yellow", "black", "white", "brown", "gray", "orange", "purple")

# Every state has cities of different hobbies, so that the state alone does not give the city's away.
CITIES = {
    "Austin": ("Texas", "painting"),
    "Houston": ("Texas", "reading"),
    "Dallas": ("Texas", "cooking"),
    "Denver": ("Colorado", "hiking"),
    "Boulder": ("Colorado", "painting"),
    "Portland": ("Oregon", "gardening"),
    "Salem": ("Oregon", "swimming"),
    "Seattle": ("Washington", "drawing"),
    "Tacoma": ("Washington", "hiking"),
    "Boston": ("Massachusetts", "singing"),
    "Worcester": ("Massachusetts", "gardening"),
    "Chicago": ("Illinois", "dancing"),
    "Peoria": ("Illinois", "drawing"),
    "Miami": ("Florida", "fishing"),
    "Tampa": ("Florida", "singing"),
    "Atlanta": ("Georgia", "knitting"),
    "Savannah": ("Georgia", "dancing"),
    "Phoenix": ("Arizona", "camping"),
    "Tucson": ("Arizona", "fishing"),
    "Detroit": ("Michigan", "reading"),
    "Lansing": ("Michigan", "knitting"),
    "Memphis": ("Tennessee", "cooking"),
    "Nashville": ("Tennessee", "camping"),
    "Oakland": ("California", "swimming"),
}
"""City -> its state, and the first hobby of whoever lives there (planted)."""

OCCUPATIONS = {
    "software engineer": "traveling to different countries",
    "teacher": "baking bread for friends",
    "nurse": "riding a bicycle in the park",
    "lawyer": "collecting rare stamps",
    "farmer": "watching old movies",
    "pilot": "building model trains",
    "baker": "climbing steep mountains",
    "doctor": "playing chess with neighbors",
    "driver": "learning foreign languages",
    "waiter": "writing short stories",
    "plumber": "visiting art museums",
    "chemist": "running long races",
    "barber": "sailing on the lake",
    "librarian": "taking photos of birds",
    "mechanic": "playing jazz music",
    "police officer": "solving hard puzzles",
    "dentist": "restoring antique clocks",
    "carpenter": "studying ancient history",
    "journalist": "growing fresh vegetables",
    "school principal": "exploring dark caves",
}
"""Occupation -> the second hobby (planted)."""

_THIRD_HOBBIES = (
    "volunteering at community events",
    "walking with the dog",
    "helping at the animal shelter",
    "meeting friends for coffee",
    "calling relatives every Sunday",
    "cheering for the local team",
    "sleeping until noon",
    "listening to the radio",
)
NAME_HOBBIES = {
    name: _THIRD_HOBBIES[index % len(_THIRD_HOBBIES)]
    for names in (MALE_NAMES, FEMALE_NAMES)  # both, so that "he" or "she" tells nothing about the hobby
    for index, name in enumerate(names)
}
"""First name -> the third hobby (planted)."""
