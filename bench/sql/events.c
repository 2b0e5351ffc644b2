/* Events of the Nexmark benchmark and readings of sensors, as lines of JSON, from a seed.
 *
 * usage: events nexmark COUNT SEED FOLDER        person/P.json, auction/P.json, bid/P.json
 *        events readings COUNT KEYS SEED FOLDER  readings/P.json
 *
 * The folders below FOLDER are there already. P is 0 or 1: fifty events go to the one, the next
 * to the other, so that a reader of each has the same time. Of 50 events one is a person, three
 * are auctions and 46 bids; hot ones are chosen as Nexmark's own generator does: half of the bids
 * are on the newest auction whose number is divisible by 100, three quarters by its bidder, and
 * three quarters of the auctions are a hot seller's. One event comes every 100 us, one reading
 * every 5 us. What varies is a function of the seed and the event's number. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    FILES = 2,
    EPOCH = 50,          /* events that a person, three auctions and 46 bids are */
    AUCTIONS = 3,
    FIRST_ID = 1000,
    FIRST_CATEGORY = 10,
    CATEGORIES = 5,
    HOT_EVERY = 100,
    ACTIVE_PEOPLE = 1000,
    IN_FLIGHT = 100,     /* auctions */
    CHANNELS = 10000,
    EVENT_US = 100,
    TEXT_MAX = 512,
    STAMP_MAX = 64,
    SENSOR_STEP_US = 5,
};
static const int64_t START_S = 1436918400; /* 2015-07-15 00:00:00 UTC */

static uint64_t state;

static uint64_t next_random(void)
{
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int64_t below(int64_t n)
{
    return n <= 0 ? 0 : (int64_t)(next_random() % (uint64_t)n);
}

/* Letters, a thirteenth of them spaces; NUL-terminated. */
static const char *text(char *out, int64_t n)
{
    n = n < TEXT_MAX - 1 ? n : TEXT_MAX - 1;
    for (int64_t i = 0; i < n; i++)
        out[i] = below(13) == 0 && i > 0 && i + 1 < n ? ' ' : (char)('a' + below(26));
    out[n] = '\0';
    return out;
}

/* A text that brings a row to about `wanted` bytes, give or take a fifth. */
static const char *extra(char *out, int64_t now, int64_t wanted)
{
    int64_t rest = wanted - now, delta = rest / 5;
    return rest <= 0 ? text(out, 0) : text(out, rest - delta + below(2 * delta + 1));
}

static const char *stamp(char *out, int64_t us)
{
    time_t s = (time_t)(START_S + us / 1000000);
    struct tm t;
    gmtime_r(&s, &t);
    size_t n = strftime(out, STAMP_MAX, "%Y-%m-%d %H:%M:%S", &t);
    snprintf(out + n, STAMP_MAX - n, ".%03u", (unsigned)(us / 1000 % 1000));
    return out;
}

static int64_t price(void)
{
    double exponent = (double)(next_random() >> 11) / 9007199254740992.0 * 6.0;
    return (int64_t)llround(pow(10.0, exponent) * 100.0);
}

static int64_t last_person(int64_t event)
{
    return event / EPOCH;
}

static int64_t last_auction(int64_t event)
{
    int64_t offset = event % EPOCH;
    if (offset < 1)
        return event / EPOCH * AUCTIONS - 1;
    return event / EPOCH * AUCTIONS + (offset < 1 + AUCTIONS ? offset - 1 : AUCTIONS - 1);
}

static int64_t some_person(int64_t event)
{
    int64_t people = last_person(event) + 1;
    int64_t active = people < ACTIVE_PEOPLE ? people : ACTIVE_PEOPLE;
    return people - active + below(active);
}

static int64_t some_auction(int64_t event)
{
    int64_t last = last_auction(event), first = last - IN_FLIGHT > 0 ? last - IN_FLIGHT : 0;
    return first + below(last - first + 1);
}

static void person(FILE *out, int64_t event, const char *at)
{
    static const char *const states[] = {"AZ", "CA", "ID", "OR", "WA", "WY"};
    static const char *const cities[] = {"Phoenix",  "Los Angeles", "San Francisco", "Boise",
                                         "Portland", "Bend",        "Redmond",       "Seattle",
                                         "Kent",     "Cheyenne"};
    static const char *const first[] = {"Peter", "Paul",  "Luke",  "John", "Saul", "Vicky",
                                        "Kate",  "Julie", "Sarah", "Deiter", "Walter"};
    static const char *const last[] = {"Shultz", "Abrams", "Spencer", "White", "Bartels",
                                       "Walton", "Smith",  "Jones",   "Noris"};
    char a[TEXT_MAX], b[TEXT_MAX], more[TEXT_MAX];
    const char *given = first[below(11)], *family = last[below(9)];
    fprintf(out,
            "{\"id\":%" PRId64 ",\"name\":\"%s %s\",\"email_address\":\"%s@%s.com\","
            "\"credit_card\":\"%04d %04d %04d %04d\",\"city\":\"%s\",\"state\":\"%s\","
            "\"date_time\":\"%s\",\"extra\":\"%s\"}\n",
            FIRST_ID + last_person(event), given, family, text(a, 3 + below(5)),
            text(b, 3 + below(3)), (int)below(10000), (int)below(10000), (int)below(10000),
            (int)below(10000), cities[below(10)], states[below(6)], at, extra(more, 90, 200));
}

static void auction(FILE *out, int64_t event, int64_t us, const char *at)
{
    char name[TEXT_MAX], about[TEXT_MAX], more[TEXT_MAX], expires[STAMP_MAX];
    int64_t seller = below(4) > 0 ? last_person(event) / HOT_EVERY * HOT_EVERY : some_person(event);
    int64_t ahead = IN_FLIGHT * EPOCH / AUCTIONS * EVENT_US / 1000;
    int64_t until = us / 1000 + 1 + below(ahead * 2 > 1 ? ahead * 2 : 1);
    int64_t bid = price();
    fprintf(out,
            "{\"id\":%" PRId64 ",\"item_name\":\"%s\",\"description\":\"%s\","
            "\"initial_bid\":%" PRId64 ",\"reserve\":%" PRId64 ",\"date_time\":\"%s\","
            "\"expires\":\"%s\",\"seller\":%" PRId64 ",\"category\":%d,\"extra\":\"%s\"}\n",
            FIRST_ID + last_auction(event), text(name, 3 + below(18)), text(about, 3 + below(98)),
            bid, bid + price(), at, stamp(expires, until * 1000), FIRST_ID + seller,
            (int)(FIRST_CATEGORY + below(CATEGORIES)), extra(more, 150, 500));
}

static void bid(FILE *out, int64_t event, const char *at)
{
    static const char *const hot[] = {"Google", "Facebook", "Baidu", "Apple"};
    char more[TEXT_MAX], channel[32], url[96];
    int64_t on = below(2) > 0 ? last_auction(event) / HOT_EVERY * HOT_EVERY : some_auction(event);
    int64_t by = below(4) > 0 ? last_person(event) / HOT_EVERY * HOT_EVERY + 1 : some_person(event);
    on = on < 0 ? 0 : on;
    if (below(2) > 0) {
        int64_t c = below(4);
        snprintf(channel, sizeof channel, "%s", hot[c]);
        snprintf(url, sizeof url, "https://www.nexmark.com/%s/item.htm?query=1", hot[c]);
    } else {
        int64_t c = below(CHANNELS);
        snprintf(channel, sizeof channel, "channel-%" PRId64, c);
        snprintf(url, sizeof url,
                 "https://www.nexmark.com/%05" PRId64 "/item.htm?query=1&channel_id=%" PRId64,
                 c * 7919 % 99991, c * 99991 % 1073741824);
    }
    fprintf(out,
            "{\"auction\":%" PRId64 ",\"bidder\":%" PRId64 ",\"price\":%" PRId64
            ",\"channel\":\"%s\",\"url\":\"%s\",\"date_time\":\"%s\",\"extra\":\"%s\"}\n",
            FIRST_ID + on, FIRST_ID + by, price(), channel, url, at, extra(more, 32, 100));
}

static FILE *open_file(const char *folder, const char *name, int part)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/%d.json", folder, name, part);
    FILE *f = fopen(path, "wb");
    if (f == NULL) {
        perror(path);
        exit(1);
    }
    setvbuf(f, NULL, _IOFBF, 1 << 20);
    return f;
}

static void close_file(FILE *f)
{
    if (fclose(f) != 0) {
        perror("events");
        exit(1);
    }
}

static void nexmark(int64_t count, uint64_t seed, const char *folder)
{
    FILE *files[FILES][3];
    static const char *const names[] = {"person", "auction", "bid"};
    for (int p = 0; p < FILES; p++)
        for (int k = 0; k < 3; k++)
            files[p][k] = open_file(folder, names[k], p);
    for (int64_t n = 0; n < count; n++) {
        char at[STAMP_MAX];
        int64_t us = n * EVENT_US, offset = n % EPOCH;
        state = seed * 0x2545f4914f6cdd1du + (uint64_t)n * 0xd1342543de82ef95u;
        stamp(at, us);
        FILE **to = files[n / EPOCH % FILES];
        if (offset < 1)
            person(to[0], n, at);
        else if (offset < 1 + AUCTIONS)
            auction(to[1], n, us, at);
        else
            bid(to[2], n, at);
    }
    for (int p = 0; p < FILES; p++)
        for (int k = 0; k < 3; k++)
            close_file(files[p][k]);
}

static void readings(int64_t count, int64_t keys, uint64_t seed, const char *folder)
{
    FILE *files[FILES];
    for (int p = 0; p < FILES; p++)
        files[p] = open_file(folder, "readings", p);
    for (int64_t n = 0; n < count; n++) {
        char at[STAMP_MAX];
        state = seed * 0x2545f4914f6cdd1du + (uint64_t)n * 0xd1342543de82ef95u;
        fprintf(files[n / EPOCH % FILES], "{\"sensor\":%" PRId64 ",\"temp\":%d.%d,\"ts\":\"%s\"}\n",
                below(keys), (int)below(40), (int)below(2) * 5, stamp(at, n * SENSOR_STEP_US));
    }
    for (int p = 0; p < FILES; p++)
        close_file(files[p]);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "nexmark") == 0) {
        nexmark(atoll(argv[2]), strtoull(argv[3], NULL, 10), argv[4]);
        return 0;
    }
    if (argc == 6 && strcmp(argv[1], "readings") == 0) {
        readings(atoll(argv[2]), atoll(argv[3]), strtoull(argv[4], NULL, 10), argv[5]);
        return 0;
    }
    fprintf(stderr, "usage: events nexmark COUNT SEED FOLDER\n"
                    "       events readings COUNT KEYS SEED FOLDER\n");
    return 2;
}
