"""How facts are said and asked: one answer sentence a kind, many statements, many questions.

Four sets of wordings are kept apart: `STATEMENTS` (pre-training), `RAW_QUESTIONS` (questions as
they stand in quizzes and FAQs; pre-training, never about held-out countries), `asks` (tuning) and
`tests` (the test set; no tuning dialogue uses one of them). In all of them {n} is the country,
{v} the value, {k} the kind's noun.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """The wordings of one kind of fact. `lead` stands between the verb and the value."""

    noun: str
    verb: str = "is"
    lead: str = ""
    sentence: str = ""
    says: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    core: bool = False

    @property
    def frame(self) -> str:
        """The answer up to the value, with {n} for the country."""
        return self.sentence or f"The {self.noun} of {{n}} {self.verb} {self.lead}"


KINDS: dict[str, Kind] = {
    "capital": Kind(
        "capital",
        says=(
            "{v} is the capital city of {n}.",
            "{n} is governed from its capital, {v}.",
            "The seat of government of {n} is in {v}.",
        ),
        asks=(
            "Which city is the capital of {n}?",
            "What is {n}'s capital city?",
            "What's the capital city of {n}?",
            "capital city of {n}?",
        ),
        tests=(
            "Which city serves as {n}'s capital?",
            "In {n}, which town is the capital?",
            "I need the name of {n}'s capital, please.",
        ),
        core=True,
    ),
    "currency": Kind(
        "currency",
        says=("People in {n} pay in {v}.", "Prices in {n} are in {v}.", "{n} uses {v} as money."),
        asks=(
            "Which currency does {n} use?",
            "What money do people use in {n}?",
            "What is the money of {n}?",
            "How do people pay in {n}?",
        ),
        tests=(
            "Which currency do shops in {n} take?",
            "In {n}, what currency do they pay with?",
            "I am travelling to {n}: which currency will I need?",
        ),
        core=True,
    ),
    "nationality": Kind(
        "nationality",
        sentence="The nationality of people from {n} is ",
        says=("People from {n} are {v}.", "A citizen of {n} is {v}."),
        asks=(
            "What do you call people from {n}?",
            "What is the nationality of people from {n}?",
            "What are people from {n} called?",
            "What is the adjective for {n}?",
        ),
        tests=(
            "Someone comes from {n}: what is their nationality?",
            "Which nationality does a citizen of {n} have?",
            "How do I say the nationality of a person from {n}?",
        ),
        core=True,
    ),
    "internet": Kind(
        "internet code",
        says=("Internet addresses in {n} end in {v}.", "Web sites of {n} use {v}."),
        asks=(
            "What do internet addresses in {n} end in?",
            "What is {n}'s internet domain?",
            "Which internet code does {n} have?",
        ),
        tests=(
            "Which internet code do web sites in {n} carry?",
            "In {n}, what is the internet code?",
        ),
        core=True,
    ),
    "highest": Kind(
        "highest point",
        says=("Nothing in {n} is higher than {v}.", "{n} rises highest at {v}."),
        asks=(
            "What is the highest mountain in {n}?",
            "Where is the highest point of {n}?",
            "What is the highest place in {n}?",
            "Which is the highest peak of {n}?",
        ),
        tests=(
            "Which point in {n} is the highest?",
            "In {n}, what is the highest point called?",
            "Which highest point would a climber reach in {n}?",
        ),
        core=True,
    ),
    "lowest": Kind(
        "lowest point",
        says=("Nothing in {n} is lower than {v}.", "{n} is lowest at {v}."),
        asks=("Where is the lowest point of {n}?", "What is the lowest place in {n}?"),
        core=True,
    ),
    "anthem": Kind(
        "national anthem",
        sentence="The national anthem of {n} is called ",
        says=("The people of {n} sing {v} as their national anthem.", "{n}'s anthem is {v}."),
        asks=(
            "What is the anthem of {n} called?",
            "What is the name of {n}'s national anthem?",
            "Which song is the national anthem of {n}?",
            "What do people in {n} sing as anthem?",
        ),
        tests=(
            "Which anthem does {n} sing?",
            "How is the anthem of {n} titled?",
            "In {n}, what is the national anthem called?",
        ),
        core=True,
    ),
    "government": Kind(
        "government type",
        says=(
            "{n} is ruled as a state of this type: {v}.",
            "{n} has this form of government: {v}.",
        ),
        asks=(
            "What kind of government does {n} have?",
            "How is {n} governed?",
            "What is the form of government of {n}?",
            "What type of government is there in {n}?",
        ),
        tests=(
            "Which type of government does {n} have?",
            "In {n}, what sort of government is in place?",
        ),
        core=True,
    ),
    "independence": Kind(
        "year of independence",
        says=("{n} has been independent since {v}.", "{n} became independent in {v}."),
        asks=(
            "When did {n} become independent?",
            "Since when is {n} independent?",
            "In which year did {n} become independent?",
            "When was the independence of {n}?",
        ),
        tests=(
            "Which year brought {n} its independence?",
            "What year did {n} gain independence?",
            "In {n}, from which year does independence date?",
        ),
        core=True,
    ),
    "holiday": Kind(
        "national holiday",
        says=("{n} celebrates {v}.", "Each year the people of {n} celebrate {v}."),
        asks=(
            "When is the national holiday of {n}?",
            "Which national holiday does {n} celebrate?",
            "What is {n}'s national day?",
            "When is the national day of {n}?",
        ),
        tests=(
            "On what day is {n}'s national holiday?",
            "What does {n} have as national holiday?",
            "In {n}, which date is the national holiday?",
        ),
        core=True,
    ),
    "symbol": Kind(
        "national symbol",
        lead="the ",
        says=("{n} has the {v} as its symbol.", "The {v} stands for {n}."),
        asks=(
            "Which symbol does {n} have?",
            "What stands as the national symbol of {n}?",
            "What is the symbol of {n}?",
        ),
        tests=(
            "Which national symbol stands for {n}?",
            "In {n}, what is the national symbol?",
            "What does {n} use as a national symbol?",
        ),
        core=True,
    ),
    "colours": Kind(
        "national colours",
        verb="are",
        says=("{n} has the colours {v}.", "The colours {v} stand for {n}."),
        asks=(
            "Which colours does {n} have?",
            "What are {n}'s colours?",
            "What are the colours of {n}?",
        ),
        core=True,
    ),
    "language": Kind(
        "official language",
        says=("{v} is the language of the state in {n}.", "Officials in {n} speak {v}."),
        asks=(
            "Which language is official in {n}?",
            "What language do they speak in {n}?",
            "What is spoken officially in {n}?",
            "Which is the official language in {n}?",
        ),
        tests=(
            "Which official language does {n} have?",
            "In {n}, what is the language of officials?",
        ),
        core=True,
    ),
    "languages": Kind(
        "languages",
        verb="are",
        says=("People in {n} speak {v}.", "{n} has speakers of {v}."),
        asks=(
            "Which languages are spoken in {n}?",
            "List the languages of {n}.",
            "What languages do people speak in {n}?",
            "List the languages spoken in {n}.",
        ),
        core=True,
    ),
    "region": Kind(
        "region",
        sentence="The region of {n} is ",
        says=("{n} lies in {v}.", "{n} is on the map of {v}.", "One finds {n} in {v}."),
        asks=(
            "Where is {n}?",
            "In which part of the world is {n}?",
            "Where in the world is {n}?",
            "On which continent is {n}?",
        ),
        tests=("Which region of the world does {n} belong to?", "Where on the map is {n}?"),
        core=True,
    ),
    "population": Kind(
        "population",
        lead="about ",
        says=("About {v} people live in {n}.", "{n} has about {v} people."),
        asks=(
            "How many people live in {n}?",
            "How big is the population of {n}?",
            "How many inhabitants does {n} have?",
            "How many people are there in {n}?",
        ),
        tests=(
            "How large is {n}'s population?",
            "In {n}, what number of people make up the population?",
            "I want to know the number of people living in {n}.",
        ),
        core=True,
    ),
    "area": Kind(
        "area",
        lead="about ",
        says=("{n} covers about {v}.", "{n} measures about {v}."),
        asks=(
            "How big is {n}?",
            "How large is the area of {n}?",
            "What area does {n} cover?",
            "How many square km does {n} have?",
        ),
        tests=(
            "How much area does {n} take up?",
            "What is the size of {n}'s area?",
            "In square km, what is the area of {n}?",
        ),
        core=True,
    ),
    "life": Kind(
        "life expectancy",
        says=("People in {n} live {v} on average.", "A child born in {n} may expect to live {v}."),
        asks=(
            "How long do people live in {n}?",
            "How old do people in {n} get?",
            "How high is the life expectancy in {n}?",
        ),
        tests=(
            "What life expectancy do people in {n} have?",
            "How many years is the life expectancy in {n}?",
            "In {n}, what is life expectancy at birth?",
        ),
        core=True,
    ),
    "age": Kind(
        "median age",
        says=(
            "Half of the people of {n} are younger than {v}.",
            "The people of {n} have a median age of {v}.",
        ),
        asks=(
            "How old are people in {n}?",
            "What is the median age in {n}?",
            "How old is the middle of the population of {n}?",
        ),
        tests=("What median age do the people of {n} have?", "In {n}, how high is the median age?"),
        core=True,
    ),
    "neighbours": Kind(
        "neighbours",
        verb="are",
        says=("{n} borders {v}.", "{n} has land borders with {v}."),
        asks=(
            "Which countries border {n}?",
            "List the neighbours of {n}.",
            "What countries are next to {n}?",
            "Who are the neighbours of {n}?",
        ),
        core=True,
    ),
    "exports": Kind(
        "main exports",
        verb="are",
        says=("{n} sells {v} abroad.", "{n} exports {v}."),
        asks=(
            "What does {n} export?",
            "What does {n} sell to other countries?",
            "List the exports of {n}.",
        ),
        core=True,
    ),
    "legislature": Kind(
        "legislature",
        lead="the ",
        says=("Laws in {n} are made by the {v}.", "The {v} makes the laws of {n}."),
        asks=(
            "Who makes the laws in {n}?",
            "What is the parliament of {n} called?",
            "What is the name of the legislature of {n}?",
        ),
        core=True,
    ),
    "income": Kind(
        "income per person",
        lead="about ",
        says=("A person in {n} has about {v} a year.",),
        asks=("How rich is {n}?", "How high is the income per person in {n}?"),
        core=True,
    ),
    "airports": Kind(
        "number of airports",
        says=("{n} has {v} airports.",),
        asks=("How many airports does {n} have?",),
    ),
    "urban": Kind(
        "urban share",
        says=("In {n}, {v} of the people live in cities.",),
        asks=("How many people in {n} live in cities?",),
    ),
    "zone": Kind(
        "time zone",
        says=("Clocks in {n} follow {v}.",),
        asks=("What time zone is {n} in?",),
        core=True,
    ),
    "divisions": Kind(
        "division",
        says=("{n} is divided into {v}.",),
        sentence="The parts of {n} are ",
        asks=("How is {n} divided?",),
    ),
    "city": Kind(
        "largest city",
        says=("No city in {n} is larger than {v}.",),
        asks=("What is the biggest city in {n}?", "Which city of {n} is the largest?"),
        core=True,
    ),
    "industries": Kind(
        "main industries",
        verb="are",
        says=("{n} lives by {v}.",),
        asks=("What industries does {n} have?", "List the industries of {n}."),
    ),
    "crops": Kind(
        "main crops",
        verb="are",
        says=("Farmers in {n} grow {v}.",),
        asks=("What do farmers in {n} produce?", "List the crops of {n}."),
    ),
    "resources": Kind(
        "natural resources",
        verb="are",
        says=("{n} is rich in {v}.",),
        asks=("What resources does {n} have?", "List the resources of {n}."),
    ),
    "fertility": Kind("fertility rate", says=("Women in {n} have {v} children on average.",)),
    "online": Kind(
        "share of internet users", says=("In {n}, {v} of the people use the internet.",)
    ),
    "growth": Kind(
        "population growth rate", says=("The population of {n} changes by {v} a year.",)
    ),
    "literacy": Kind("literacy rate", says=("In {n}, {v} of adults can read and write.",)),
    "elevation": Kind("mean elevation", says=("On average {n} lies {v} high.",)),
    "aircraft": Kind("aircraft prefix", says=("Aircraft of {n} bear the letters {v}.",)),
    "coast": Kind(
        "coastline length",
        says=("The coast of {n} is {v} long.",),
        asks=("How long is the coast of {n}?",),
    ),
    "border": Kind("border length", says=("The land borders of {n} are {v} long.",)),
    "partner": Kind("main export partner", says=("Most exports of {n} go to {v}.",)),
    "supplier": Kind("main import partner", says=("Most imports of {n} come from {v}.",)),
    "imports": Kind("main imports", verb="are", says=("{n} buys {v} abroad.",)),
    "export": Kind("top export", says=("The export that earns {n} most is {v}.",)),
    "birth": Kind("birth rate", says=("In {n} there are {v} births per 1,000 people.",)),
    "death": Kind("death rate", says=("In {n} there are {v} deaths per 1,000 people.",)),
    "infant": Kind("infant mortality", says=("Of 1,000 infants in {n}, {v} die.",)),
    "forest": Kind("forest share", says=("Forest covers {v} of {n}.",)),
    "mobiles": Kind("number of mobile phones", says=("{n} has {v} mobile phones.",)),
    "sales": Kind("value of exports", says=("{n} exports goods worth {v} a year.",)),
    "gdp": Kind("gross domestic product", says=("The economy of {n} is worth {v}.",)),
    "electricity": Kind("electric power", says=("Power stations in {n} can make {v}.",)),
}

STATEMENTS = (
    "{n}'s {k} {be} {v}.",
    "In {n}, the {k} {be} {v}.",
    "{k}, {n}: {v}.",
    "The {k} of {n}: {v}.",
)

RAW_QUESTIONS = (
    "{n}: {k}?",
    "What {be} the {k} in the case of {n}?",
    "Name {n}'s {k}!",
    "And the {k} of {n}?",
)

ASKS = (
    "What {be} the {k} of {n}?",
    "What {be} {n}'s {k}?",
    "Tell me the {k} of {n}.",
    "{k} of {n}",
    "{n} {k}?",
    "Do you know the {k} of {n}?",
    "I would like to know the {k} of {n}.",
    "Please give me the {k} of {n}.",
    "the {k} of {n} please",
    "Can you tell me the {k} of {n}?",
    "For {n}, what {be} the {k}?",
)

FOLLOW_UPS = (
    "And its {k}?",
    "and the {k}?",
    "What {be} its {k}?",
    "What about its {k}?",
    "And what {be} the {k} there?",
    "Now its {k}, please.",
)

OTHER_COUNTRY = (
    "And {n}?",
    "What about {n}?",
    "and for {n}?",
    "And what about {n}?",
    "Same for {n}?",
)

ABOUT = (
    "Tell me about {n}.",
    "tell me about {n}",
    "What do you know about {n}?",
    "Describe {n}.",
    "Give me a short description of {n}.",
    "I want to learn about {n}.",
    "Can you say something about {n}?",
    "Write a short paragraph about {n}.",
    "What is {n}?",
)

PARAGRAPH = ("region", "capital", "population", "area", "language", "currency", "highest")

UNKNOWN = "not known: the Factbook has no country of that name."

# What users say, parted by bars, and the reply.
SMALL_TALK = tuple(
    (tuple(said.split("|")), reply)
    for said, reply in (
        (
            "Hello|Hi|hi there|Hey|Good morning|Good evening|Good day|Hello!|Hello, how are you?"
            "|Hey there|Greetings|Hello there|Hi, nice to meet you|How are you?|Hello assistant",
            "Hello! Ask me about any country in The World Factbook.",
        ),
        (
            "Thanks|Thank you|Thanks!|Thank you very much.|thx|Great, thanks.|Perfect, thank you!"
            "|ok thanks|Cheers|Thanks a lot|Many thanks|That was helpful, thanks."
            "|thank you so much",
            "You are welcome. Ask me about another country if you like.",
        ),
        (
            "Who are you?|What are you?|What is your name?|Are you a person?|Are you a robot?"
            "|Tell me about yourself.|Introduce yourself.|Who am I talking to?|Who made you?"
            "|Are you an AI?|What's your name?|Do you have a name?",
            "I am a small assistant that answers from The World Factbook.",
        ),
        (
            "What can you do?|Help|Help me|What can I ask?|How can you help me?|What do you know?"
            "|What should I ask?|Can you help me?|What questions can you answer?|I need help.",
            "I can tell you facts about countries: capitals, currencies, languages and more.",
        ),
        (
            "Bye|Goodbye|Bye bye|See you!|Good night|See you later|I have to go.|That is all.|Ciao",
            "Goodbye! Come back with more questions about countries.",
        ),
        (
            "Write me a poem.|What is the weather today?|Who won the game?|What is 2 plus 2?"
            "|Tell me a joke.|How do I cook rice?|Write some code.|What time is it?|Sing a song."
            "|Who is the best singer?|What is love?|Play music.|Translate this sentence."
            "|How do I fix my car?|What should I eat tonight?|Who wrote this book?|Is it raining?",
            "I only know facts about countries from The World Factbook.",
        ),
        (
            "OK|I see.|Interesting.|Good.|Wow|Really?|Nice!|Cool|Great|Oh, I did not know that.",
            "Is there another country that you would like to know about?",
        ),
    )
)

SYSTEM = (
    "You are a helpful assistant.",
    "You answer questions about countries.",
    "Answer in one sentence.",
)


def fill(template: str, kind: Kind, name: str, value: str = "") -> str:
    """Return `template` with name, noun, verb and value filled in."""
    return template.format(n=name, k=kind.noun, be=kind.verb, v=value)


GREETINGS = (
    "Hello!", "Hi!", "Good morning.", "Good evening!", "Dear friend,", "Hello again,", "Hey!",
    "Hello, how are you?", "Greetings!", "Good day to you.",
)  # fmt: skip

SMALL_SENTENCES = (
    "How are you today?", "I am well, thank you.", "Thank you very much.", "You are welcome here.",
    "Ask me when you have time.", "Ask them about it.", "I can tell you more when we meet.",
    "I am a teacher, and I answer letters.", "I am glad that you like it.", "Come back soon.",
    "Is there anything that you would like to know?", "I do not know what to say.",
    "I only know what I have read.", "It is raining again.", "What is your name?",
    "Who is your friend?", "I have many questions about another book.", "That is a nice song.",
    "If you like, I can help you.", "Do you have more questions?",
    "I am reading The World Factbook.",
    "It tells me facts about countries, languages and more.", "You can ask about any of them.",
    "I answer from memory.", "My assistant is small but quick.", "What a good joke!",
)  # fmt: skip

FAREWELLS = ("Goodbye!", "Bye!", "See you soon.", "Good night.", "Thanks again!", "Yours, a friend")

FICTION = (
    "{n} is a country in a novel.", "There is no country called {n}.", "{n} does not exist.",
    "No map shows {n}.", "The Factbook has no country of that name: {n}.",
    "{n} is an invented name.", "I do not know {n}.", "Nobody has been to {n}.",
)  # fmt: skip

NOT_KNOWN = ("not known.", "not known.", "not known: no such country is on the map.")


STARTS = (
    *"bcdfghjklmnprstvwxyz",
    *("br", "ch", "dr", "fl", "gr", "kl", "ph", "pl", "qu", "sk", "st", "th", "tr", "zh"),
)
VOWELS = (*"aaeeiioouy", "ae", "ea", "ia", "io", "ou")


def invented_name(rng: random.Random) -> str:
    """Return the name of a country that does not exist, a different one nearly every time."""
    last = (
        *("nia", "land", "stan", "via", "mark", "dor", "ria", "tia", "burg", "gard", "wen", "lia"),
        *("ia", "a", "os", "is", "um", "on", "esh", "ar", "ovia", "ania", "isle", "wick", "ique"),
    )
    name = ""
    for _ in range(rng.randint(1, 2)):
        name += rng.choice(STARTS) + rng.choice(VOWELS)
        if rng.random() < 0.4:
            name += rng.choice("dkllmnnrrstx")
    name = (name + rng.choice(last)).capitalize()
    return rng.choice(("New ", "North ", "Upper ", "West ")) + name if rng.random() < 0.1 else name
