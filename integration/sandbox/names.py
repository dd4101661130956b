"""Invented people, companies, places and words for the sandbox org.

Everything here is made up, and every e-mail address and website lives under example.com or example.org,
the domains reserved for samples, so that nothing the sandbox says can reach a real person.
All choices go through the ``random.Random`` that is handed in: the same seed tells the same story.
"""

import random
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

FIRST_NAMES = (
    "Ana", "Amara", "Ben", "Bianca", "Caleb", "Chidi", "Chloé", "Dalia", "Dev", "Elif", "Emeka", "Enzo",
    "Farah", "Fiona", "Gabriel", "Giulia", "Grace", "Hana", "Hugo", "Ines", "Isaac", "Ivy", "Jonas",
    "José", "Jun", "Kamal", "Keiko", "Kwame", "Lars", "Leila", "Lena", "Liam", "Lucía", "Łukasz", "Maeve",
    "Mateo", "Maya", "Mei", "Milan", "Nadia", "Nils", "Noor", "Olga", "Omar", "Oscar", "Paolo", "Priya",
    "Quinn", "Rafael", "Ravi", "René", "Rosa", "Ruth", "Samir", "Sana", "Søren", "Stella", "Tariq", "Tessa",
    "Thandi", "Tomás", "Uma", "Vera", "Viktor", "Wen", "Xavier", "Yara", "Yusuf", "Zeynep", "Zoë",
)  # fmt: skip

LAST_NAMES = (
    "Abara", "Adeyemi", "Almeida", "Baker", "Barros", "Bauer", "Bergström", "Castillo", "Chandra", "Chen",
    "Costa", "Cruz", "D'Angelo", "Dahl", "Demir", "Diallo", "Dubois", "Eriksen", "Faure", "Fernández",
    "Fischer", "Flores", "Fofana", "Garner", "Gómez", "Haddad", "Hale", "Hansen", "Hayashi", "Hughes",
    "Ibrahim", "Ito", "Jansen", "Jensen", "Kamau", "Kaplan", "Keller", "Khan", "Kim", "Kowalska", "Larsen",
    "Lindqvist", "Lopes", "Mahmoud", "Marsh", "Mbeki", "Mehta", "Meyer", "Moreau", "Morgan", "Müller",
    "Nair", "Nakamura", "Novák", "Núñez", "O'Brien", "O'Neill", "Okafor", "Osei", "Park", "Patel", "Pereira",
    "Quist", "Ramos", "Reyes", "Ricci", "Rossi", "Sato", "Schwarz", "Silva", "Singh", "Ståhl", "Stone",
    "Suzuki", "Takahashi", "Tan", "Torres", "Tran", "Usman", "Van der Berg", "Vargas", "Vogel", "Walsh",
    "Weber", "Wójcik", "Yamamoto", "Yildiz", "Zhang", "Zimmer",
)  # fmt: skip

SALUTATIONS = ("Ms.", "Mr.", "Dr.", "Prof.")

COMPANY_HEADS = (
    "Brightwater", "Northwind Bay", "Copperleaf", "Juniper", "Halcyon", "Larkspur", "Ironbark", "Saltmarsh",
    "Bluefin", "Meridian", "Tidewell", "Foxglove", "Stonebridge", "Amberline", "Quillfield", "Harborlight",
    "Cloudberry", "Riverstone", "Pinecrest", "Sundial", "Moonraker", "Willowbank", "Kestrel", "Overland",
    "Redshank", "Greyfriar", "Summerhill", "Oakhaven", "Palisade", "Driftwood", "Emberly", "Fernhollow",
    "Goldfinch", "Highmoor", "Inkwell", "Jasperstone", "Kitewind", "Lanternhouse", "Millrace", "Nightjar",
    "Orchardside", "Peppertree", "Quarrystone", "Rookwood", "Silverbirch", "Thistledown", "Umberfield",
    "Velvetmoss", "Windmere", "Yarrow", "Zephyrine", "Ashgrove", "Beaconfield", "Cedarpoint", "Dovecote",
    "Eastlight", "Farwater", "Glassmere", "Hazelmount", "Islewood", "Crème", "Fjordlys", "Señal", "Über",
)  # fmt: skip

COMPANY_TAILS: dict[str, tuple[str, ...]] = {
    "Software": ("Software", "Systems", "Labs", "Code", "Logic", "Apps"),
    "SaaS": ("Cloud", "Analytics", "Metrics", "Desk", "Flow", "Signals"),
    "E-commerce": ("Market", "Outfitters", "Goods", "Shop", "Direct", "Supply"),
    "Financial Services": ("Capital", "Payments", "Ledger", "Trust", "Finance", "Credit"),
    "Healthcare": ("Health", "Clinics", "Care", "Diagnostics", "Therapeutics", "Wellness"),
    "Manufacturing": ("Works", "Industries", "Tooling", "Fabrication", "Motors", "Metals"),
    "Education": ("Academy", "Learning", "Schools", "Press", "Campus", "Tutors"),
    "Media": ("Media", "Studios", "Pictures", "Broadcasting", "Games", "Audio"),
    "Food & Beverage": ("Foods", "Bakery", "Coffee", "Brewing", "Kitchens", "Dairy"),
    "Travel & Logistics": ("Freight", "Travel", "Logistics", "Rail", "Voyages", "Couriers"),
}

# Industry -> the sector, industry group and sub-industry an enrichment service would report for it.
INDUSTRY_SECTORS = {
    "Software": ("Information Technology", "Software & Services", "Application Software"),
    "SaaS": ("Information Technology", "Software & Services", "Internet Software"),
    "E-commerce": ("Consumer Discretionary", "Retailing", "Internet Retail"),
    "Financial Services": ("Financials", "Diversified Financials", "Consumer Finance"),
    "Healthcare": ("Health Care", "Health Care Equipment & Services", "Health Care Services"),
    "Manufacturing": ("Industrials", "Capital Goods", "Industrial Machinery"),
    "Education": ("Consumer Discretionary", "Consumer Services", "Education Services"),
    "Media": ("Communication Services", "Media & Entertainment", "Broadcasting"),
    "Food & Beverage": ("Consumer Staples", "Food, Beverage & Tobacco", "Packaged Foods"),
    "Travel & Logistics": ("Industrials", "Transportation", "Air Freight & Logistics"),
}

INDUSTRIES = tuple(COMPANY_TAILS)
INDUSTRY_WEIGHTS = (20, 18, 16, 9, 8, 7, 6, 6, 6, 4)

COMPANY_FORMS = (
    "",
    "",
    "",
    "",
    " Group",
    " Holdings",
    " & Co.",
    " Collective",
    " GmbH",
    " Ltd.",
    " Inc.",
    " SARL",
)

# Role -> titles by seniority; the words an enrichment service files under that role.
TITLES: dict[str, dict[str, tuple[str, ...]]] = {
    "Product": {
        "executive": ("Chief Product Officer", "VP Product"),
        "director": ("Director of Product", "Head of Product"),
        "manager": ("Senior Product Manager", "Group Product Manager"),
        "individual": ("Product Manager", "Product Analyst", "Product Designer"),
    },
    "Engineering": {
        "executive": ("CTO", "VP Engineering"),
        "director": ("Director of Engineering", "Head of Platform"),
        "manager": ("Engineering Manager", "Data Engineering Lead"),
        "individual": ("Software Engineer", "Analytics Engineer", "Site Reliability Engineer"),
    },
    "Marketing": {
        "executive": ("CMO", "VP Marketing"),
        "director": ("Director of Growth", "Head of Demand Generation"),
        "manager": ("Growth Marketing Manager", "Lifecycle Marketing Manager"),
        "individual": ("Marketing Specialist", "Content Strategist", "SEO Analyst"),
    },
    "Sales": {
        "executive": ("Chief Revenue Officer", "VP Sales"),
        "director": ("Director of Sales", "Head of Revenue Operations"),
        "manager": ("Sales Manager", "Account Manager"),
        "individual": ("Account Executive", "Sales Development Representative"),
    },
    "Customer Success": {
        "executive": ("Chief Customer Officer",),
        "director": ("Director of Customer Success",),
        "manager": ("Customer Success Manager", "Support Team Lead"),
        "individual": ("Onboarding Specialist", "Support Agent"),
    },
    "Operations": {
        "executive": ("COO", "CEO & Co-Founder"),
        "director": ("Director of Operations", "Chief of Staff"),
        "manager": ("Operations Manager", "Office Manager"),
        "individual": ("Business Analyst", "Operations Coordinator"),
    },
    "Finance": {
        "executive": ("CFO",),
        "director": ("Finance Director", "Controller"),
        "manager": ("Procurement Manager",),
        "individual": ("Financial Analyst", "Accounts Payable Clerk"),
    },
}
ROLES = tuple(TITLES)
ROLE_WEIGHTS = (26, 22, 18, 12, 9, 8, 5)
SENIORITIES = ("executive", "director", "manager", "individual")
SENIORITY_WEIGHTS = (10, 18, 32, 40)

# City, state or region, country, the dialling code, latitude, longitude (of the region, rounded).
PLACES = (
    ("Maple Harbor", "ME", "United States", "+1 207", 43.7, -70.3),
    ("Cedar Falls East", "OR", "United States", "+1 503", 45.5, -122.7),
    ("Lake Amity", "IL", "United States", "+1 312", 41.9, -87.6),
    ("Port Willow", "WA", "United States", "+1 206", 47.6, -122.3),
    ("San Arroyo", "CA", "United States", "+1 415", 37.8, -122.4),
    ("Saint-Aubin-sur-Lac", "QC", "Canada", "+1 514", 45.5, -73.6),
    ("Kingsferry", "Kent", "United Kingdom", "+44 1632", 51.3, 0.5),
    ("Neustadt am Bach", "Bayern", "Germany", "+49 30", 48.1, 11.6),
    ("Villeneuve-les-Pins", "Provence", "France", "+33 1 99", 43.5, 5.4),
    ("Skovby", "Midtjylland", "Denmark", "+45 32", 56.2, 9.5),
    ("São Martinho", "SP", "Brazil", "+55 11", -23.5, -46.6),
    ("Minamikawa", "Osaka", "Japan", "+81 6", 34.7, 135.5),
    ("Rio Seco", "Madrid", "Spain", "+34 910", 40.4, -3.7),
    ("Nyeri Hills", "Nairobi", "Kenya", "+254 20", -1.3, 36.8),
    ("Koramandal", "KA", "India", "+91 80", 12.9, 77.6),
)
STREETS = (
    "Mill Lane", "Harbour Street", "Station Road", "Linden Avenue", "Orchard Way", "Canal Row",
    "Foundry Yard", "Market Square", "Rue des Tilleuls", "Birkenweg", "Calle del Sol", "Observatory Drive",
    "Weaver's Court",
)  # fmt: skip

PRODUCTS = ("Analytics", "Session Replay", "Journeys", "Warehouse Sync", "Alerts")
LEAD_SOURCES = (
    "Web Sign-up",
    "Demo Request",
    "Contact Form",
    "Referral",
    "Webinar",
    "SDR Created",
    "AE Created",
)
LEAD_SOURCE_WEIGHTS = (30, 18, 14, 8, 10, 14, 6)
TASK_SUBJECTS = (
    "Call", "Send proposal", "Discovery call notes", "Follow up on pricing", "Security questionnaire",
    "Quarterly review", "Send contract", "Share case study", "Check usage drop", "Renewal reminder",
)  # fmt: skip
EVENT_SUBJECTS = (
    "Demo",
    "Kick-off",
    "Onboarding workshop",
    "Business review",
    "Lunch & learn",
    "Contract call",
)
CAMPAIGN_THEMES = (
    "Product Analytics Webinar", "Persona Playbook", "Spring Launch", "Data Teams Meetup", "Pricing Guide",
    "Retention Benchmark Report", "Free Trial Nurture", "Conference Booth", "Partner Roadshow", "Win-back",
)  # fmt: skip
CAMPAIGN_TYPES = ("Webinar", "Content", "Email", "Event", "Advertisement", "Conference")
NEXT_STEPS = (
    "Book demo",
    "Send security pack",
    "Legal review",
    "Agree on seats",
    "Meet the CFO",
    "Start pilot",
)
DESCRIPTIONS = (
    "Met at a meetup; wants funnels, cohorts and a quick start.",
    "Two teams, one budget.\nAsked for references in their industry.",
    'Says "we already have a dashboard", which is why they called.',
    "Careful with renewals: the fiscal year ends in June, not December.",
    "null",
    "Prefers e-mail; calls only before 10:00.\r\nSpeaks French and a little Danish.",
    "Tab\there, semicolon; there, comma, everywhere. 100 % real.",
    "Très intéressée — « à suivre » 🚀",
)


@dataclass(frozen=True)
class Person:
    """An invented person, with a job title that fits the role and the seniority; ``salutation`` may be None."""

    first: str
    last: str
    salutation: str | None
    role: str
    seniority: str
    title: str

    @property
    def name(self) -> str:
        """First and last name with a space between."""
        return f"{self.first} {self.last}"


@dataclass(frozen=True)
class Company:
    """An invented company; ``domain`` is always under example.com or example.org."""

    name: str
    industry: str
    domain: str


@dataclass
class EmailBook:
    """Hands out addresses and remembers them, so that two people share one only when that is asked for."""

    taken: set[str] = field(default_factory=set)

    def new(self, first: str, last: str, domain: str) -> str:
        """Return an address such as ``ana.flores@brightwater-foods.example.com``, numbered if it is taken."""
        local = f"{slug(first)}.{slug(last)}"
        address = f"{local}@{domain}"
        number = 2
        while address in self.taken:
            address = f"{local}{number}@{domain}"
            number += 1
        self.taken.add(address)
        return address


def slug(text: str) -> str:
    """Return ``text`` as plain lower-case letters and digits joined by hyphens, safe in addresses."""
    # ø, ł and ß do not decompose, so they need words of their own.
    for special, plain in _SPECIAL_LETTERS:
        text = text.replace(special, plain)
    flat = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = "".join(letter if letter.isalnum() else " " for letter in flat).split()
    return "-".join(words) or "x"


def weighted(rng: random.Random, values: Sequence[str], weights: Sequence[int]) -> str:
    """Return one of ``values``, the likelier the larger its weight."""
    return rng.choices(values, weights)[0]


def person(rng: random.Random) -> Person:
    """Return a new person whose title fits the role and the seniority."""
    role = weighted(rng, ROLES, ROLE_WEIGHTS)
    seniority = weighted(rng, SENIORITIES, SENIORITY_WEIGHTS)
    first = rng.choice(FIRST_NAMES)
    if rng.random() < 0.01:
        first += " 🌻"
    salutation = rng.choice(SALUTATIONS) if rng.random() < 0.3 else None
    return Person(first, rng.choice(LAST_NAMES), salutation, role, seniority, title(rng, role, seniority))


def title(rng: random.Random, role: str, seniority: str) -> str:
    """Return a job title of that role and seniority."""
    return rng.choice(TITLES[role][seniority])


def role_of(job_title: str) -> tuple[str, str] | None:
    """Return (role, seniority) of a title of ours, "Senior", ", acting" and "(2)" aside; None for an unknown one."""
    return _ROLE_OF_TITLE.get(job_title) or _ROLE_OF_TITLE.get(_ADDITIONS.sub("", job_title))


def companies(rng: random.Random, count: int) -> list[Company]:
    """Return ``count`` companies with different names and domains."""
    pairs = [
        (head, tail, industry)
        for industry, tails in COMPANY_TAILS.items()
        for head, tail in product(COMPANY_HEADS, tails)
    ]
    shares = dict(zip(INDUSTRIES, INDUSTRY_WEIGHTS, strict=True))
    # Weighted shuffle: a small org gets the industries in proportion, a large one uses every pair once.
    pairs.sort(key=lambda pair: rng.random() ** (1 / shares[pair[2]]), reverse=True)
    made: list[Company] = []
    domains: set[str] = set()
    for number in range(count):
        head, tail, industry = pairs[number % len(pairs)]
        lap = number // len(pairs)
        name = f"{head} {tail}{rng.choice(COMPANY_FORMS)}" + (f" {lap + 1}" if lap else "")
        made.append(Company(name, industry, _domain(rng, f"{head} {tail}", domains)))
    return made


def place(rng: random.Random, prefix: str) -> dict[str, object]:
    """Return the parts of an address as fields, ``prefix`` in front (``Billing`` gives ``BillingCity``)."""
    city, state, country, _, latitude, longitude = rng.choice(PLACES)
    street = f"{rng.randint(1, 240)} {rng.choice(STREETS)}"
    if rng.random() < 0.1:
        street += f"\n{rng.randint(1, 12)}. floor, suite {rng.randint(1, 40)}"
    known = rng.random() < 0.5  # half of all addresses were never geocoded
    return {
        f"{prefix}Street": street,
        f"{prefix}City": city,
        f"{prefix}State": state,
        f"{prefix}PostalCode": f"{rng.randint(0, 99999):05d}",
        f"{prefix}Country": country,
        f"{prefix}Latitude": round(latitude + rng.uniform(-0.2, 0.2), 6) if known else None,
        f"{prefix}Longitude": round(longitude + rng.uniform(-0.2, 0.2), 6) if known else None,
        f"{prefix}GeocodeAccuracy": rng.choice(("Address", "Street", "City")) if known else None,
    }


def phone(rng: random.Random) -> str:
    """Return a telephone number with a range of digits that is kept free for fiction (555-01xx)."""
    return f"{rng.choice(PLACES)[3]} 555 01{rng.randint(0, 99):02d}"


def _domain(rng: random.Random, name: str, taken: set[str]) -> str:
    base = slug(name)
    ending = "example.com" if rng.random() < 0.8 else "example.org"
    domain = f"{base}.{ending}"
    number = 2
    while domain in taken:
        domain = f"{base}-{number}.{ending}"
        number += 1
    taken.add(domain)
    return domain


_SPECIAL_LETTERS = (("ø", "o"), ("Ø", "o"), ("ł", "l"), ("Ł", "l"), ("ß", "ss"), ("'", ""))

_ADDITIONS = re.compile(r"^(Senior )+|, acting$| \(\d+\)$")

_ROLE_OF_TITLE = {
    job: (role, seniority)
    for role, by_seniority in TITLES.items()
    for seniority, jobs in by_seniority.items()
    for job in jobs
}
