#include "connect/http_client.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

enum { CONNECT_MS_MAX = 3000 };

enum err http_client_init(struct http_client *c, const char *auth, struct err_detail *why)
{
    *c = (struct http_client){0};
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return err_set(why, ERR_NO_MEMORY, "libcurl cannot be used");
    if (auth == NULL || auth[0] == '\0')
        return ERR_OK;
    const char *space = strchr(auth, ' ');
    size_t n = space == NULL ? 0 : (size_t)(space - auth);
    bool ok = n > 0 && n < sizeof c->origin && strchr(space, ':') != NULL &&
              strlen(space + 1) < sizeof c->userpwd &&
              (strncmp(auth, "http://", 7) == 0 || strncmp(auth, "https://", 8) == 0);
    if (!ok) {
        err_set(why, ERR_INVALID_ARGUMENT, "TIDEMILL_SCHEMA_REGISTRY_AUTH is not understood");
        err_hint(why, "It is an address, a space, user and password: "
                      "'https://registry.example:8081 user:password'.");
        return ERR_INVALID_ARGUMENT;
    }
    while (n > 0 && auth[n - 1] == '/')
        n--;
    memcpy(c->origin, auth, n);
    snprintf(c->userpwd, sizeof c->userpwd, "%s", space + 1);
    return ERR_OK;
}

/* Whether the URL is below the address that the password is for. */
static bool is_for(const struct http_client *c, const char *url)
{
    size_t n = strlen(c->origin);
    return n > 0 && strncmp(url, c->origin, n) == 0 && (url[n] == '/' || url[n] == '\0');
}

static size_t take(char *bytes, size_t size, size_t n, void *arg)
{
    struct buf *body = arg;
    buf_put(body, bytes, size * n);
    return body->failed ? 0 : size * n;
}

static int stop_check(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return host_stop_requested(arg);
}

static bool set_up(CURL *curl, const struct http_client *c, struct host *h, const char *url,
                   struct buf *body)
{
    bool ok = curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_PROXY, "") == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)HTTP_CLIENT_MS_MAX) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS_MAX) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_WRITEDATA, body) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, stop_check) == CURLE_OK &&
              curl_easy_setopt(curl, CURLOPT_XFERINFODATA, h) == CURLE_OK;
    if (ok && is_for(c, url))
        ok = curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC) == CURLE_OK &&
             curl_easy_setopt(curl, CURLOPT_USERPWD, c->userpwd) == CURLE_OK;
    return ok;
}

enum err http_client_get(void *arg, struct host *h, const char *url, struct buf *body,
                         int *status, struct err_detail *why)
{
    CURL *curl = curl_easy_init();
    long code = 0;
    *status = 0;
    if (curl == NULL)
        return ERR_NO_MEMORY;
    CURLcode e = set_up(curl, arg, h, url, body) ? curl_easy_perform(curl) : CURLE_OUT_OF_MEMORY;
    if (e == CURLE_OK)
        (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_cleanup(curl);
    *status = (int)code;
    if (body->failed)
        return err_set(why, ERR_LIMIT, "%s: the answer is longer than %zu bytes", url, body->max);
    if (e == CURLE_OUT_OF_MEMORY)
        return ERR_NO_MEMORY;
    return e == CURLE_OK ? ERR_OK
                         : err_set(why, e == CURLE_OPERATION_TIMEDOUT ? ERR_TIMEOUT : ERR_IO,
                                   "%s: %s", url, curl_easy_strerror(e));
}
