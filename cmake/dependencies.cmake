# The libraries of tools/packages.txt as targets. `tools/setup` installs them.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(LZ4 REQUIRED IMPORTED_TARGET liblz4)
pkg_check_modules(SNAPPY REQUIRED IMPORTED_TARGET snappy)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(OPENSSL REQUIRED IMPORTED_TARGET openssl)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
pkg_check_modules(LIBPQ REQUIRED IMPORTED_TARGET libpq)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(PROTOBUF_C REQUIRED IMPORTED_TARGET libprotobuf-c)

# The static libpg_query keeps the program free of a shared library that few machines have. It holds
# PostgreSQL's own globals (hash_bytes, list_free, ...): the copy that we link has them renamed.
find_library(PG_QUERY_LIBRARY NAMES libpg_query.a REQUIRED)
find_path(PG_QUERY_INCLUDE_DIR pg_query.h REQUIRED)
set(pg_query_isolated "${CMAKE_BINARY_DIR}/libpg_query_isolated.a")
add_custom_command(
    OUTPUT "${pg_query_isolated}"
    COMMAND /usr/bin/python3 "${CMAKE_SOURCE_DIR}/tools/isolate_archive.py"
        "${PG_QUERY_LIBRARY}" "${pg_query_isolated}" pg_query
    DEPENDS "${PG_QUERY_LIBRARY}" "${CMAKE_SOURCE_DIR}/tools/isolate_archive.py"
    COMMENT "Isolating libpg_query's symbols"
    VERBATIM)
add_custom_target(tm_pg_query_isolated DEPENDS "${pg_query_isolated}")
add_library(tm_pg_query STATIC IMPORTED)
set_target_properties(tm_pg_query PROPERTIES IMPORTED_LOCATION "${pg_query_isolated}")
add_dependencies(tm_pg_query tm_pg_query_isolated)
target_include_directories(tm_pg_query SYSTEM INTERFACE "${PG_QUERY_INCLUDE_DIR}")
target_link_libraries(tm_pg_query INTERFACE
    PkgConfig::PROTOBUF_C PkgConfig::XXHASH Threads::Threads m)

# What each layer links besides the layers before it.
set(TIDEMILL_LINKS_base PkgConfig::XXHASH m)
set(TIDEMILL_LINKS_host Threads::Threads)
set(TIDEMILL_LINKS_wire
    PkgConfig::ZSTD PkgConfig::LZ4 PkgConfig::SNAPPY PkgConfig::ZLIB PkgConfig::OPENSSL)
set(TIDEMILL_LINKS_plan tm_pg_query)
set(TIDEMILL_LINKS_host PkgConfig::OPENSSL ${CMAKE_DL_LIBS})
set(TIDEMILL_LINKS_type PkgConfig::PCRE2 PkgConfig::OPENSSL m)
set(TIDEMILL_LINKS_connect PkgConfig::CURL PkgConfig::LIBPQ)
set(TIDEMILL_LINKS_serve PkgConfig::OPENSSL)

if(TIDEMILL_TESTS)
    pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
    pkg_check_modules(RDKAFKA REQUIRED IMPORTED_TARGET rdkafka)
endif()
