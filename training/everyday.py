"""Everyday prompts with answers that can be checked, made from templates: what people ask of a small model.

Public sets hold examinations; without these a small model would look as if it could do nothing. Deterministic."""

from __future__ import annotations

import random

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Germany": "Berlin", "Egypt": "Cairo",
    "Russia": "Moscow", "China": "Beijing", "Canada": "Ottawa", "Australia": "Canberra", "Greece": "Athens",
    "Portugal": "Lisbon", "Sweden": "Stockholm", "Norway": "Oslo", "Kenya": "Nairobi", "Peru": "Lima",
    "Cuba": "Havana", "Austria": "Vienna", "Poland": "Warsaw", "Ireland": "Dublin", "Mongolia": "Ulaanbaatar",
    "Kazakhstan": "Astana", "Bhutan": "Thimphu", "Burkina Faso": "Ouagadougou", "Slovenia": "Ljubljana",
}
OPPOSITES = {
    "hot": "cold", "up": "down", "big": "small", "day": "night", "happy": "sad", "fast": "slow", "open": "closed",
    "light": "dark", "early": "late", "rich": "poor", "wet": "dry", "strong": "weak", "full": "empty", "old": "young",
}
FRENCH = {
    "dog": "chien", "house": "maison", "water": "eau", "bread": "pain", "book": "livre", "red": "rouge",
    "friend": "ami", "night": "nuit", "cheese": "fromage", "school": "école", "milk": "lait", "sun": "soleil",
}
SPANISH = {
    "dog": "perro", "house": "casa", "water": "agua", "bread": "pan", "book": "libro", "red": "rojo",
    "friend": "amigo", "night": "noche", "cheese": "queso", "school": "escuela", "milk": "leche", "sun": "sol",
}
POSITIVE = [
    "I love this phone, the screen is wonderful.", "What a great film, I laughed the whole time.",
    "The staff were kind and the food was delicious.", "Best purchase I made this year.",
    "The hotel was clean, quiet and close to the beach.", "Our guide was brilliant and very patient.",
]
NEGATIVE = [
    "The battery died after two days and nobody answers my calls.", "This was the worst meal of my life.",
    "The room was dirty and smelled of smoke.", "I want my money back, it broke at once.",
    "Terrible service, we waited for two hours.", "The book is boring and full of mistakes.",
]
FACTS = [
    ("Is the sun a star?", "yes"), ("Is the earth flat?", "no"), ("Can fish fly to the moon?", "no"),
    ("Do cows eat grass?", "yes"), ("Is ice colder than steam?", "yes"), ("Is a whale a fish?", "no"),
    ("Is gold a metal?", "yes"), ("Does a triangle have four sides?", "no"), ("Is Paris in France?", "yes"),
    ("Do spiders have six legs?", "no"), ("Is water made of hydrogen and oxygen?", "yes"), ("Is 7 an even number?", "no"),
]
WHO = [
    ("Who wrote Romeo and Juliet?", "Shakespeare"), ("Who painted the Mona Lisa?", "Leonardo"),
    ("What is the largest planet in our solar system?", "Jupiter"), ("What gas do plants take in from the air?", "carbon dioxide"),
    ("How many days are there in a week?", "seven|7"), ("What colour do you get when you mix blue and yellow?", "green"),
    ("What is the chemical symbol for water?", "H2O"), ("Which ocean lies between Europe and America?", "Atlantic"),
    ("What is the freezing point of water in degrees Celsius?", "0|zero"), ("Which animal is known as the king of the jungle?", "lion"),
    ("What is the square root of 81?", "9|nine"), ("Who was the first man on the moon?", "Armstrong"),
    ("In which year did the Second World War end?", "1945"), ("What is the longest river in Africa?", "Nile"),
    ("Who developed the theory of general relativity?", "Einstein"), ("What is the currency of Japan?", "yen"),
]
NAMES = ["Anna", "Ben", "Clara", "David", "Ella", "Frank", "Grace", "Henry", "Iris", "Jack"]
WORDS = ["apple", "river", "window", "garden", "mountain", "candle", "bridge", "letter", "orange", "winter", "rocket", "pencil"]
GREETINGS = [
    "Hello!", "Hi, how are you today?", "Good morning!", "Thanks, that was helpful.", "Who are you?", "Tell me a joke.",
    "Say something nice.", "What can you help me with?", "Good night!", "I had a long day at work.", "Wish me luck for my exam.",
    "Say hello in five words.", "Write a short birthday greeting for my sister.", "Give me a compliment.",
    "Suggest a name for a cat.", "Write one sentence about the sea.", "How do I stay motivated?", "Tell me something about dogs.",
    "Write a two line poem about spring.", "What should I cook tonight with rice and tomatoes?",
]


def rows(seed: int = 7) -> list[dict]:
    """The prompts: id, prompt, gold, metric, task, max_tokens."""
    rng = random.Random(seed)
    out: list[dict] = []

    def add(task: str, prompt: str, gold: str, metric: str, max_tokens: int = 32) -> None:
        out.append({"id": f"everyday-{len(out)}", "prompt": prompt, "gold": gold, "metric": metric, "task": task, "max_tokens": max_tokens})

    for country, city in CAPITALS.items():
        add("factual", f"What is the capital of {country}?", city, "contains")
    for question, answer in WHO:
        add("factual", question, answer, "contains")
    for question, answer in FACTS:
        add("factual", f"{question} Answer yes or no.", answer, "contains", 12)
    for word, other in OPPOSITES.items():
        add("rewriting", f"What is the opposite of \"{word}\"?", other, "contains", 24)
    for language, table in (("French", FRENCH), ("Spanish", SPANISH)):
        for word, other in table.items():
            add("translation", f"Translate the word \"{word}\" into {language}.", other, "contains", 24)
    for label, texts in (("positive", POSITIVE), ("negative", NEGATIVE)):
        for text in texts:
            add("classification", f"Is this review positive or negative? Answer with one word.\n\n{text}", label, "contains", 12)
            add("classification", f"Classify the sentiment of the text as positive or negative.\nText: {text}\nSentiment:", label, "contains", 12)
    for _ in range(25):
        word = rng.choice(WORDS)
        add("rewriting", f"Repeat the word \"{word}\".", word, "contains", 24)
        phrase = " ".join(rng.sample(WORDS, 3))
        add("rewriting", f"Write this in capital letters: {phrase}", phrase.upper(), "contains", 32)
        name, day, hour = rng.choice(NAMES), rng.choice(["Monday", "Friday", "Sunday"]), rng.randint(2, 11)
        add("extraction", f"{name} will arrive on {day} at {hour} o'clock. Who will arrive?", name, "contains", 24)
        add("extraction", f"Extract the day from this text: \"{name} meets us on {day} at {hour}.\"", day, "contains", 24)
        mail = f"{name.lower()}@{rng.choice(['acme', 'north', 'blue'])}.org"
        add("extraction", f"Find the e-mail address in this text and reply with it only: Please write to {mail} before noon.", mail, "contains", 32)
    for _ in range(40):
        a, b = rng.randint(1, 20), rng.randint(1, 20)
        add("maths", f"What is {a} + {b}?", str(a + b), "number", 32)
        c, d = rng.randint(12, 99), rng.randint(12, 99)
        add("maths", f"What is {c} times {d}?", str(c * d), "number", 48)
    for _ in range(15):
        chosen = rng.sample(WORDS, 4)
        add("reasoning", f"Sort these words alphabetically: {', '.join(chosen)}.", ", ".join(sorted(chosen)), "contains", 40)
        add("reasoning", f"Which of these words is the longest: {', '.join(chosen)}?", max(chosen, key=len), "contains", 32)
    for prompt in GREETINGS:
        add("chat", prompt, "", "nonempty", 40)
    return out
