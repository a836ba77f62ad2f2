"""Texts with marked persons, addresses, organisations and identifiers, for the tagger: templates of the public presidio set
(those of them that may train) and of our own, filled with Faker's names of many countries. Deterministic.

`{person}` and the like stand for what is filled in and is of the kind that KINDS says; what it does not name is of no kind. Nothing of the
public set's texts is read here but which templates they hold out."""

from __future__ import annotations

import random
import re
from pathlib import Path

from faker import Faker

import data
import everyday
import templates

LABELS = ["none", "person", "address", "organisation", "identifier"]
LOCALES = [
    "en_US", "en_GB", "en_CA", "en_AU", "en_IN", "de_DE", "de_AT", "de_CH", "fr_FR", "es_ES", "es_MX", "it_IT", "nl_NL", "pt_PT", "pt_BR", "pl_PL",
    "sv_SE", "da_DK", "no_NO", "fi_FI", "cs_CZ", "hu_HU", "tr_TR", "ro_RO", "hr_HR", "id_ID", "vi_VN", "az_AZ",
]
KINDS = {
    "person": "person", "name": "person", "name_male": "person", "name_female": "person", "first_name": "person", "last_name": "person",
    "first_name_male": "person", "first_name_female": "person", "first_name_nonbinary": "person", "last_name_male": "person", "last_name_female": "person",
    "address": "address", "street_name": "address", "building_number": "address", "secondary_address": "address", "organization": "organisation",
    "identifier": "identifier",
}
# What belongs to an address where it follows one closely, and is a mere place elsewhere.
PLACES = {"city", "country", "postcode", "zipcode", "state_abbr"}
CLOSE = re.compile(r"[\s,>?\\]{0,8}")
SLOT = re.compile(r"\{\{?(\w+)\}?\}")
OWN = [
    "Hi, this is {person} from {organization}, could you call me back?", "Dear {first_name},\n\nthank you for your mail.\n\nBest regards,\n{person}",
    "my name is {person} and i live at {address}", "Please write a letter to {person} about the broken heating.", "{person} <{email}> wrote:",
    "Patient {person}, born {date_of_birth}, patient number {identifier}, was admitted on {date_time}.", "Invoice {identifier}: {organization}, {address}",
    "Summarise the complaint of {person} ({organization}) in one sentence.", "Customer no. {identifier} has asked twice. Her name is {person}.",
    "Attendees: {person}, {person}, {first_name} and {last_name}", "Ship it to {person}, {address}.", "Employee ID: {identifier}\nName: {person}\nTeam: {job}",
    "Translate into French: {person} works for {organization} in {city}.", "meeting with {first_name} at {organization} tomorrow at 10",
    "The contract between {organization} and {organization} was signed by {person}.", "Member number {identifier}, please update my street to {street_name} {building_number}.",
    "From: {person}\nTo: {person}\nSubject: offer for {organization}", "I talked to {first_name} {last_name} yesterday, she is the CEO of {organization}.",
    "Case {identifier} was opened by {person} on {date_time}.", "{person}: can you review this?\n{first_name}: sure, tomorrow", "Policy number: {identifier}\nInsured: {person}",
    "His landlord, {person}, lives on {street_name}.", "Rewrite politely: tell {first_name} that the report for {organization} is late.",
    "Write a birthday card for my colleague {first_name}.", "My daughter {first_name} is {age} and afraid of dogs. What can I do?",
    "According to {last_name} et al., the results are robust.", "Mr. {last_name} has no appointment, Mrs. {last_name} has one at nine.",
    "{person} applied for the position of {job} at {organization}.", "i think {first_name} from {organization} has my laptop",
    "Is {organization} hiring? My friend {person} works there.", "The account of {person} is {identifier}.", "account id {identifier} is locked",
    "Our student {person} (matriculation {identifier}) failed the exam.", "Tracking number {identifier} says delivered, but nothing came to {address}.",
    "Send the parcel to:\n{person}\n{organization}\n{address}", "CV\n{person}\n{address}\n{phone_number}\n{email}", "reservation {identifier} for {last_name}, two persons",
    "{\"name\": \"{person}\", \"company\": \"{organization}\", \"id\": \"{identifier}\"}", "name,company,city\n{person},{organization},{city}\n{person},{organization},{city}",
    "Who is {person}?", "What did {person} say about {organization}?", "Compare {organization} and {organization} as employers.",
    "The lawyer {person} of {organization} represents the plaintiff, {person}.", "booking reference: {identifier}, name {person}",
    "Dr. {last_name} told me to take two pills a day.", "vehicle {identifier} belongs to {person}, {address}", "serial no {identifier}, bought by {first_name}",
]
# Capital letters, numbers and products that are nothing of the kind.
NOTHING = [
    "Deploy the service to EKS and store the logs in S3.", "Why does Python raise a KeyError here?", "Use Kubernetes 1.29 with Helm and Argo CD.", "The Monday meeting is about REST APIs.",
    "In {year}, inflation rose by 4 percent in {country}.", "Explain the Monte Carlo method and Bayes' theorem.", "Write a SQL query: SELECT id FROM Orders WHERE Total > 100;",
    "What is the capital of {country}?", "We moved here from {city}.", "How far is {city} from {city}?", "Compare Windows, Linux and macOS.", "const Map = new Map(); // O(n) lookup",
    "The Internet of Things connects Sensors to the Cloud.", "Translate: Good Morning, How Are You?", "Version 2.4.1 fixes CVE-2024-3094.", "ERROR 503 Service Unavailable at 10:31:07",
    "IMPORTANT: DO NOT REPLY TO THIS MESSAGE", "def train(model, Epochs=10):\n    return Loss", "Is Spanish harder than {language}?", "On Tuesday, 3 March, I ran 10 km.",
    "Hi there! How Are You Today?", "The Earth orbits the Sun; Mars has two moons.", "Step 1: Open Settings. Step 2: Click Save.", "A. London\nB. Paris\nC. Rome\nD. Madrid\nAnswer:",
    "If a train travels 60 miles per hour for 3 hours, how far does it go?", "Solve for x: 3x + 7 = 22", "Harry Potter is a book about a school of magic.", "Bubble Sort vs Quick Sort",
    "SHA-256 of the file is 9f86d081884c7d659a2feaa0c55ad015", "See RFC 9110, Section 4.2.", "The red Fox jumps over the lazy Dog.", "Write a haiku about Spring and Winter.",
    "What Would You Do With One Million Dollars?", "GPT-4 and Claude answer, Llama runs on my laptop.", "Christmas, Easter and Ramadan are holidays.", "row 42, column B, total 1,204.50 EUR",
    "My zip code is {zipcode}", "I'm originally from {country}", "room 204, floor 3, building C", "call the API with id=7 and retry 3 times", "Release 17.2 ships on Friday; build 4411 failed.",
    "Postgres 16 on port 5432, table users, column email", "Ticket prices rose to 45 dollars in {year}.", "Chapter 7, page 143, figure 2", "PR #482 closes issue #97", "HTTP/2 and TLS 1.3",
]


class Filler:
    """Fills slots with made-up names; one country for a text."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.fakers = {locale: Faker(locale) for locale in LOCALES}
        for number, faker in enumerate(self.fakers.values()):
            faker.seed_instance(seed + number)

    def value(self, slot: str, faker: Faker) -> str:
        rng, choose = self.rng, self.rng.choice
        if slot in ("person", "name", "name_male", "name_female"):
            first, last = faker.first_name(), faker.last_name()
            return choose([f"{first} {last}"] * 6 + [f"{first} {chr(rng.randint(65, 90))}. {last}", f"{first} {chr(rng.randint(65, 90))} {last}", f"{first[0]}. {last}",
                                                     f"{last}, {first}", f"{first} {last}-{faker.last_name()}", first, last])
        if slot.startswith("first_name"):
            return faker.first_name()
        if slot.startswith("last_name"):
            return faker.last_name()
        if slot == "street_name":
            return faker.street_name()
        if slot == "building_number":
            return faker.building_number()
        if slot == "secondary_address":
            return choose(["Apt. {}", "Suite {}", "Unit {}", "Floor {}", "Apartment {}"]).format(rng.randint(1, 999))
        if slot == "address":
            street = choose([f"{faker.street_name()} {faker.building_number()}", f"{faker.building_number()} {faker.street_name()}", faker.street_address()])
            joint = choose([", ", "\n", " ", ",\n"])
            more = [choose(["Apt. {}", "Suite {}"]).format(rng.randint(1, 999))] if rng.random() < 0.3 else []
            more += [choose([faker.city(), f"{faker.postcode()} {faker.city()}", f"{faker.city()}, {chr(rng.randint(65, 90))}{chr(rng.randint(65, 90))} {faker.postcode()}"])]
            more += [faker.current_country()] if rng.random() < 0.3 else []
            return joint.join([street, *(more if rng.random() < 0.85 else [])])
        if slot == "organization":
            word = faker.last_name()
            return choose([faker.company(), faker.company(), f"{word} & Sons", f"{word} {choose(['Bank', 'Systems', 'Hospital', 'University', 'Logistics', 'Labs', 'Foods', 'Energy'])}",
                           f"{choose(['Nordic', 'United', 'First', 'Global', 'Blue', 'Alpine', 'Delta'])} {choose(['Airlines', 'Insurance', 'Motors', 'Telecom', 'Media', 'Pharma'])}",
                           "".join(rng.choices("BCDFGHKLMNPRSTV", k=3)), f"{word}-{faker.last_name()}", f"{word} {choose(['Inc', 'Ltd', 'LLC', 'GmbH', 'AG', 'SA', 'Group'])}"])
        if slot == "identifier":
            digits = lambda n: "".join(rng.choices("0123456789", k=n))
            letters = lambda n: "".join(rng.choices("ABCDEFGHJKLMNPRSTUVWXYZ", k=n))
            return choose([digits(rng.randint(5, 10)), f"{letters(2)}{digits(6)}", f"{letters(3)}-{digits(5)}", f"{digits(3)}-{digits(4)}", letters(1) + digits(7),
                           f"{digits(4)}/{digits(2)}", "".join(rng.choices("ABCDEFGHJKLMNPRSTUVWXYZ23456789", k=6))])
        if slot in ("city", "country", "postcode", "job"):
            return {"city": faker.city, "country": faker.country, "postcode": faker.postcode, "job": faker.job}[slot]()
        english = self.fakers["en_US"]
        other = {
            "zipcode": english.postcode, "state_abbr": english.state_abbr, "email": english.email, "phone_number": faker.phone_number, "iban": english.iban,
            "credit_card_number": english.credit_card_number, "ssn": english.ssn, "url": english.url, "ip_address": english.ipv4, "day_of_week": english.day_of_week,
            "us_driver_license": lambda: english.bothify("?#######").upper(), "date_of_birth": english.date, "date_time": lambda: english.date(pattern="%d %B %Y"),
            "year": english.year, "age": lambda: str(rng.randint(1, 99)), "language": english.language_name,
            "nationality": lambda: choose(["American", "German", "Hungarian", "Chinese", "Dutch"]), "nation_woman": lambda: choose(["Frenchwoman", "Dutchwoman"]),
            "nation_plural": lambda: choose(["Germans", "Swedes", "Kenyans"]),
        }
        if slot.startswith("prefix"):
            return choose(["Mr.", "Mrs.", "Ms.", "Dr.", "Miss"])
        return other[slot]()

    def fill(self, template: str) -> tuple[str, list[tuple[int, int, str]]]:
        """A text with the spans of what is of a kind, in characters."""
        faker = self.fakers[self.rng.choice(LOCALES)]
        text, spans, at = "", [], 0
        for slot in SLOT.finditer(template):
            name = slot.group(1)
            between = template[at:slot.start()]
            value, kind = self.value(name, faker), KINDS.get(name)
            if name in PLACES and spans and spans[-1][2] == "address" and spans[-1][1] == len(text) and CLOSE.fullmatch(between):
                kind = "address"
            text += between
            if kind:
                spans.append((len(text), len(text) + len(value), kind))
            text, at = text + value, slot.end()
        text += template[at:]
        case = self.rng.random()
        changed = text.lower() if case < 0.2 else text.upper() if case < 0.23 else text
        return (changed if len(changed) == len(text) else text), spans


def presidio(folder: Path) -> list[str]:
    """The templates of the public set of which it holds no text with an odd number: those are for reporting."""
    skeleton = lambda text: "".join(re.findall(r"[a-z]+", re.sub(r"\{\{.*?\}\}", "", text.replace("\\n", " ")).lower()))
    held_out = {skeleton(row["masked"]) for row in data.read(folder / "presidio_research/synth_dataset_v2.json.gz") if row["template_id"] % 2}
    lines = (folder / "presidio_research/templates.txt").read_text(errors="replace").splitlines()
    return [line.replace("\\n", "\n").replace("\\,", ",") for line in lines if line.strip() and skeleton(line) not in held_out]


def texts(folder: Path, seed: int = 7) -> list[tuple[str, list[tuple[int, int, str]], str]]:
    """Texts, their spans, and the group by which they are held out in trials."""
    filler, out = Filler(seed), []
    for source, lines, times in (("presidio", presidio(folder), 25), ("own", OWN, 60), ("nothing", NOTHING, 12)):
        for number, line in enumerate(lines):
            out += [(*filler.fill(line), f"{source}{number}") for _ in range(times if "{" in line else max(1, times // 6))]
    plain = [row["prompt"] for row in everyday.rows()] + [prompt for _, _, prompt in templates.tasks() if "Anna" not in prompt]
    filler.rng.shuffle(plain)
    out += [(text, [], f"plain{number % 50}") for number, text in enumerate(plain[:1500])]
    # Several texts after one another, as in a longer conversation.
    joined = filler.rng.sample(out, len(out) // 3)
    for first, second in zip(joined[::2], joined[1::2]):
        moved = [(start + len(first[0]) + 1, end + len(first[0]) + 1, kind) for start, end, kind in second[1]]
        out.append((f"{first[0]}\n{second[0]}", first[1] + moved, first[2]))
    return out
