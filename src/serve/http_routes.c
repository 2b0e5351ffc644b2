#include "serve/http_int.h"

#include "base/check.h"

#include <stdio.h>

static const struct http_route routes[] = {
    {HTTP_POST, "/v1/tables/{}/rows", HTTP_ROWS_BODY_BYTES_MAX, http_handle_rows},
    {HTTP_POST, "/data", HTTP_DATA_BODY_BYTES_MAX, http_handle_data},
    {HTTP_POST, "/v1/query", HTTP_QUERY_BODY_BYTES_MAX, http_handle_query},
    {HTTP_GET, "/v1/views/{}", HTTP_QUERY_BODY_BYTES_MAX, http_handle_view},
    {HTTP_GET, "/v1/views/{}/changes", HTTP_QUERY_BODY_BYTES_MAX, http_handle_changes},
    {HTTP_GET, "/v1/topics", HTTP_QUERY_BODY_BYTES_MAX, http_handle_topics},
    {HTTP_GET, "/v1/catalog", HTTP_QUERY_BODY_BYTES_MAX, http_handle_catalog},
    {HTTP_GET, "/v1/pipeline", HTTP_QUERY_BODY_BYTES_MAX, http_handle_pipeline},
    {HTTP_GET, "/metrics", HTTP_QUERY_BODY_BYTES_MAX, http_handle_metrics},
    {HTTP_GET, "/livez", HTTP_QUERY_BODY_BYTES_MAX, http_handle_livez},
    {HTTP_GET, "/readyz", HTTP_QUERY_BODY_BYTES_MAX, http_handle_readyz},
};

/* Any other GET may be a file of the dashboard. */
static void handle_asset(struct http_conn *h, const struct http_call *call)
{
    http_asset_respond(h, call->request);
}
static const struct http_route asset_route = {HTTP_GET, "/", HTTP_QUERY_BODY_BYTES_MAX,
                                              handle_asset};

/* ---- who may ask: a web page of somebody else must not reach a server on this machine ---- */

static bool is_loopback_name(struct str host)
{
    struct str name = http_host_name(host);
    return str_ieq(name, STR("localhost")) || str_ieq(name, STR("[::1]")) ||
           (str_starts(name, STR("127.")) && name.len <= 15);
}

/* DNS rebinding: a foreign name that resolves to this machine shows in Host. */
static bool host_allowed(struct http_conn *h, const struct http_request *r)
{
    if (http_server_of(h)->insecure || is_loopback_name(r->host) || r->host.ptr == NULL)
        return true;
    struct err_detail why = {0};
    err_set(&why, ERR_FORBIDDEN, "requests for host \"%.*s\" are refused",
            (int)(r->host.len < 80 ? r->host.len : 80), r->host.ptr);
    err_hint(&why, "Use localhost, 127.0.0.1 or [::1], or start the server with --insecure.");
    http_respond_error(h, ERR_FORBIDDEN, &why);
    return false;
}

/* A page of another origin makes its browser send Origin: it must be our own. */
static bool origin_allowed(struct http_conn *h, const struct http_request *r)
{
    struct str origin = http_header(r, STR("origin"));
    if (origin.ptr == NULL)
        return true;
    size_t scheme = str_starts(origin, STR("http://"))    ? 7
                    : str_starts(origin, STR("https://")) ? 8
                                                          : 0;
    struct str authority = {origin.ptr + scheme, origin.len - scheme};
    if (scheme > 0 && str_ieq(authority, r->host))
        return true;
    struct err_detail why = {0};
    err_set(&why, ERR_FORBIDDEN, "requests from pages of \"%.*s\" are refused",
            (int)(origin.len < 80 ? origin.len : 80), origin.ptr);
    http_respond_error(h, ERR_FORBIDDEN, &why);
    return false;
}

/* ---- matching ---- */

/* Takes the first segment off a path that begins with '/'. */
static struct str segment_next(struct str *path)
{
    struct str rest = {path->ptr + 1, path->len - 1};
    const char *slash = rest.len == 0 ? NULL : memchr(rest.ptr, '/', rest.len);
    size_t n = slash == NULL ? rest.len : (size_t)(slash - rest.ptr);
    *path = (struct str){rest.ptr + n, rest.len - n};
    return (struct str){rest.ptr, n};
}

static bool pattern_matches(const char *pattern, struct str path, struct str *argument)
{
    struct str want = str_of(pattern);
    while (want.len > 0 && path.len > 0) {
        struct str a = segment_next(&want);
        struct str b = segment_next(&path);
        if (str_eq(a, STR("{}")) && b.len > 0)
            *argument = b;
        else if (!str_eq(a, b))
            return false;
    }
    return want.len == 0 && path.len == 0;
}

/* Answers 405 with the methods that the path has. */
static void method_refuse(struct http_conn *h, const struct http_request *r, unsigned methods)
{
    char allow[80];
    struct err_detail why = {0};
    const char *list = (methods & HTTP_POST) != 0 ? "POST" : "GET, HEAD";
    snprintf(allow, sizeof allow, "Allow: %s\r\nCache-Control: no-store\r\n", list);
    err_set(&why, ERR_UNSUPPORTED, "%.*s is not offered for %.*s", STR_ARG(r->method_text),
            (int)(r->path.len < 200 ? r->path.len : 200), r->path.ptr);
    err_hint(&why, "Use %s.", list);
    http_respond_error_as(h, 405, allow, ERR_UNSUPPORTED, &why);
}

static void not_found(struct http_conn *h, const struct http_request *r)
{
    struct err_detail why = {0};
    struct str names[ARRAY_LEN(routes)];
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        names[i] = str_of(routes[i].pattern);
    int nearest = str_nearest(r->path, names, ARRAY_LEN(routes));
    err_set(&why, ERR_UNDEFINED_TABLE, "there is nothing at %.*s",
            (int)(r->path.len < 200 ? r->path.len : 200), r->path.ptr);
    if (nearest >= 0)
        err_hint(&why, "Did you mean %s?", routes[nearest].pattern);
    else
        err_hint(&why, "docs/http-api.md lists what is there.");
    http_respond_error_as(h, 404, NULL, ERR_UNDEFINED_TABLE, &why);
}

const struct http_route *http_route_find(struct http_conn *h, const struct http_request *r,
                                         struct str *argument)
{
    if (!host_allowed(h, r) || !origin_allowed(h, r))
        return NULL;
    const struct http_route *found = NULL;
    struct str name = {NULL, 0};
    for (size_t i = 0; i < ARRAY_LEN(routes) && found == NULL; i++)
        if (pattern_matches(routes[i].pattern, r->path, &name))
            found = &routes[i];
    enum http_method method = r->method == HTTP_HEAD ? HTTP_GET : r->method;
    if (found == NULL && method == HTTP_GET && http_asset_exists(r))
        return &asset_route;
    if (found == NULL) {
        not_found(h, r);
        return NULL;
    }
    if ((found->methods & method) == 0) {
        method_refuse(h, r, found->methods);
        return NULL;
    }
    *argument = (struct str){NULL, 0};
    if (name.len == 0)
        return found;
    struct err_detail why = {0};
    enum err e = http_percent_decode(name, false, &h->arena, argument);
    if (e == ERR_OK)
        return found;
    err_set(&why, e, "the name in the path is not percent-encoded UTF-8");
    http_respond_error(h, e, &why);
    return NULL;
}
