"""The stored facts of the language world: fixed tables, the same in every corpus.

Real geography, and invented people who each live in one city, so a two-hop question (person -> city -> country -> language) has
one answer. `HELD_OUT` people never appear in a corpus with "speaks": what a network says of them it must compose.
"""

from microtome.stimuli.language.lexicon import SURNAMES

COUNTRIES = {
    "france": ("europe", "french", ("paris", "lyon")),
    "italy": ("europe", "italian", ("rome", "milan")),
    "spain": ("europe", "spanish", ("madrid", "seville")),
    "germany": ("europe", "german", ("berlin", "munich")),
    "russia": ("europe", "russian", ("moscow", "kazan")),
    "japan": ("asia", "japanese", ("tokyo", "osaka")),
    "china": ("asia", "chinese", ("beijing", "shanghai")),
    "india": ("asia", "hindi", ("delhi", "mumbai")),
    "turkey": ("asia", "turkish", ("ankara", "izmir")),
    "egypt": ("africa", "arabic", ("cairo", "luxor")),
    "kenya": ("africa", "swahili", ("nairobi", "mombasa")),
    "nigeria": ("africa", "hausa", ("lagos", "abuja")),
    "brazil": ("america", "portuguese", ("recife", "salvador")),
    "peru": ("america", "quechua", ("lima", "cusco")),
    "canada": ("america", "cree", ("toronto", "ottawa")),
}
CITIES = tuple(city for _, _, cities in COUNTRIES.values() for city in cities)
LANGUAGES = tuple(language for _, language, _ in COUNTRIES.values())
CONTINENTS = ("europe", "asia", "africa", "america")

COUNTRY_OF = {city: country for country, (_, _, cities) in COUNTRIES.items() for city in cities}
CONTINENT_OF = {country: continent for country, (continent, _, _) in COUNTRIES.items()}
LANGUAGE_OF = {country: language for country, (_, language, _) in COUNTRIES.items()}
#: Person -> city. 7 is coprime to the 30 cities, so each city has one inhabitant and neighbours in the list live apart.
CITY_OF = {person: CITIES[(7 * i + 3) % len(CITIES)] for i, person in enumerate(SURNAMES)}
HELD_OUT = SURNAMES[::5]

#: Relation -> (templates with {0} for the entity, table entity -> answer). The answer follows the template.
ONE_HOP = {
    "city_country": (("{0} is in", "{0} is a city in", "the country of {0} is"), COUNTRY_OF),
    "person_city": (("{0} lives in", "the home of {0} is"), CITY_OF),
    "country_continent": (("{0} lies in", "the continent of {0} is"), CONTINENT_OF),
    "country_language": (("people in {0} speak", "the language of {0} is"), LANGUAGE_OF),
}
TWO_HOP = {
    "person_country": (("the country where {0} lives is",), {p: COUNTRY_OF[c] for p, c in CITY_OF.items()}),
    "person_language": (("{0} speaks",), {p: LANGUAGE_OF[COUNTRY_OF[c]] for p, c in CITY_OF.items()}),
    "city_continent": (("the continent where {0} lies is",), {c: CONTINENT_OF[k] for c, k in COUNTRY_OF.items()}),
    "city_language": (("people who live in {0} speak",), {c: LANGUAGE_OF[k] for c, k in COUNTRY_OF.items()}),
}

FACT_WORDS = {
    "city": CITIES,
    "country": tuple(COUNTRIES),
    "continent": CONTINENTS,
    "language_name": (*LANGUAGES, "english", "velan"),
}
