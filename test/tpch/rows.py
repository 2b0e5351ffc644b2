"""Rows for TPC-H's tables from a seed: its shapes and value lists (specification, clauses 4.2.2 and
4.2.3), own randomness, weighted so that each of the 22 queries finds something in few rows."""
import datetime
import random

SUPPLIERS = 60
PARTS = 300
CUSTOMERS = 200
ORDERS = 2000

REGIONS = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"]
NATIONS = [("ALGERIA", 0), ("ARGENTINA", 1), ("BRAZIL", 1), ("CANADA", 1), ("EGYPT", 4),
           ("ETHIOPIA", 0), ("FRANCE", 3), ("GERMANY", 3), ("INDIA", 2), ("INDONESIA", 2),
           ("IRAN", 4), ("IRAQ", 4), ("JAPAN", 2), ("JORDAN", 4), ("KENYA", 0), ("MOROCCO", 0),
           ("MOZAMBIQUE", 0), ("PERU", 1), ("CHINA", 2), ("ROMANIA", 3), ("SAUDI ARABIA", 4),
           ("VIETNAM", 2), ("RUSSIA", 3), ("UNITED KINGDOM", 3), ("UNITED STATES", 1)]
SEGMENTS = ["AUTOMOBILE", "BUILDING", "FURNITURE", "HOUSEHOLD", "MACHINERY"]
PRIORITIES = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"]
SHIP_MODES = ["REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB", "AIR REG"]
INSTRUCTIONS = ["DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"]
SIZES = ["STANDARD", "SMALL", "MEDIUM", "LARGE", "ECONOMY", "PROMO"]
FINISHES = ["ANODIZED", "BURNISHED", "PLATED", "POLISHED", "BRUSHED"]
METALS = ["TIN", "NICKEL", "BRASS", "STEEL", "COPPER"]
BOXES = ["CASE", "BOX", "BAG", "JAR", "PKG", "PACK", "CAN", "DRUM"]
BOX_SIZES = ["SM", "MED", "LG", "JUMBO", "WRAP"]
COLORS = ["almond", "azure", "blue", "forest", "green", "ivory", "khaki", "lemon", "navy", "plum"]
WORDS = ["carefully", "quick", "final", "deposits", "special", "pending", "requests", "ideas",
         "regular", "accounts", "express", "packages"]
FIRST_DAY = datetime.date(1992, 1, 1)
LAST_ORDER_DAY = 2405   # 1998-08-02


def words(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def money(rng, low, high):
    return f"{rng.randint(low * 100, high * 100) / 100:.2f}"


def phone(rng, nation):
    local = f"{rng.randint(100, 999)}-{rng.randint(1000, 9999)}"
    return f"{nation + 10}-{rng.randint(100, 999)}-{local}"


def suppliers(rng):
    for key in range(1, SUPPLIERS + 1):
        nation = key % 25 if rng.random() < 0.5 else rng.choice([3, 6, 7, 20])
        comment = ("ironic Customer slow Complaints" if key % 15 == 0 else words(rng, 4))
        yield (key, f"Supplier#{key:09}", words(rng, 2), nation, phone(rng, nation),
               money(rng, -999, 9999), comment)


def parts(rng):
    for key in range(1, PARTS + 1):
        name = " ".join(rng.sample(COLORS, 5))
        maker = rng.randint(1, 5)
        brand = rng.choice([12, 23, 34, maker * 10 + rng.randint(1, 5)])
        kind = f"{rng.choice(SIZES)} {rng.choice(FINISHES)} {rng.choice(METALS)}"
        if key % 12 == 0:
            kind = "ECONOMY ANODIZED STEEL"
        box = rng.choice(["MED BOX", f"{rng.choice(BOX_SIZES)} {rng.choice(BOXES)}",
                          {12: "SM CASE", 34: "LG PACK"}.get(brand, "MED BAG")])
        size = rng.choice([15, 3, 9, rng.randint(1, 50)])
        yield (key, name, f"Manufacturer#{maker}", f"Brand#{brand}", kind, size, box,
               money(rng, 900, 2000), words(rng, 2))


def partsupp(rng):
    for part in range(1, PARTS + 1):
        for supplier in rng.sample(range(1, SUPPLIERS + 1), 4):
            yield (part, supplier, rng.randint(1, 200), money(rng, 1, 1000), words(rng, 4))


def customers(rng):
    for key in range(1, CUSTOMERS + 1):
        nation = rng.randrange(25)
        yield (key, f"Customer#{key:09}", words(rng, 2), nation, phone(rng, nation),
               money(rng, -999, 9999), rng.choice(SEGMENTS), words(rng, 5))


def lines(rng, order, ordered, supplied):
    for number in range(1, rng.choice([1, 2, 3, 4, 5, 6, 7, 7]) + 1):
        part, supplier = rng.choice(supplied)
        shipped = ordered + datetime.timedelta(days=rng.randint(1, 121))
        received = shipped + datetime.timedelta(days=rng.randint(1, 30))
        quantity = rng.randint(40, 50) if order % 300 == 0 else rng.randint(1, 50)
        yield (order, part, supplier, number, quantity,
               f"{quantity * rng.randint(90000, 200000) / 100:.2f}",
               f"0.{rng.randint(0, 10):02}", f"0.{rng.randint(0, 8):02}",
               rng.choice("RA") if received <= datetime.date(1995, 6, 17) else "N",
               "O" if shipped > datetime.date(1995, 6, 17) else "F",
               shipped, ordered + datetime.timedelta(days=rng.randint(30, 90)), received,
               rng.choice(INSTRUCTIONS), rng.choice(SHIP_MODES), words(rng, 3))


def orders_and_lines(rng, supplied):
    orders, all_lines = [], []
    for key in range(1, ORDERS + 1):
        day = FIRST_DAY + datetime.timedelta(days=rng.randint(0, LAST_ORDER_DAY))
        mine = list(lines(rng, key, day, supplied))
        status = {line[9] for line in mine}
        comment = "special late requests" if key % 9 == 0 else words(rng, 4)
        orders.append((key, rng.randint(1, CUSTOMERS) // 3 * 3 + 1,
                       status.pop() if len(status) == 1 else "P",
                       f"{sum(float(line[5]) for line in mine):.2f}", day, rng.choice(PRIORITIES),
                       f"Clerk#{rng.randint(1, 99):09}", 0, comment))
        all_lines += mine
    return orders, all_lines


def tables(seed):
    """{table: rows}, each row a tuple of values."""
    rng = random.Random(seed)
    made = {"region": [(i, name, words(rng, 3)) for i, name in enumerate(REGIONS)],
            "nation": [(i, name, region, words(rng, 3))
                       for i, (name, region) in enumerate(NATIONS)],
            "supplier": list(suppliers(rng)), "part": list(parts(rng)),
            "partsupp": list(partsupp(rng)), "customer": list(customers(rng))}
    supplied = [(row[0], row[1]) for row in made["partsupp"]]
    made["orders"], made["lineitem"] = orders_and_lines(rng, supplied)
    return made
