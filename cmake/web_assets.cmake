# web/dist (built by `make web`) becomes part of the program: tools/embed_assets.py writes a table
# and an assembler file that includes the bytes, plain and gzip; src/serve/assets.h is how the
# program finds them.

function(tidemill_add_web_assets)
    get_target_property(type tm_serve TYPE)
    if(type STREQUAL "INTERFACE_LIBRARY")
        return()
    endif()
    set(dist "${CMAKE_SOURCE_DIR}/web/dist")
    set(files "")
    if(NOT TIDEMILL_WEB STREQUAL "OFF")
        file(GLOB_RECURSE files CONFIGURE_DEPENDS "${dist}/*")
    endif()
    if(NOT files AND TIDEMILL_WEB STREQUAL "ON" AND EXISTS "${CMAKE_SOURCE_DIR}/web/package.json")
        message(FATAL_ERROR
            "web/dist is missing: run `make web` (needs Node.js), or configure with "
            "-DTIDEMILL_WEB=OFF for a program without a dashboard")
    endif()
    set(tool "${CMAKE_SOURCE_DIR}/tools/embed_assets.py")
    set(folder "${TIDEMILL_GEN_DIR}/serve")
    file(MAKE_DIRECTORY "${folder}")
    set(sources "${folder}/assets_table.c" "${folder}/assets_bytes.S")
    add_custom_command(
        OUTPUT ${sources}
        COMMAND /usr/bin/python3 "${tool}" "${folder}" "${dist}" ${files}
        DEPENDS "${tool}" ${files}
        COMMENT "Embedding the dashboard"
        VERBATIM)
    target_sources(tm_serve PRIVATE ${sources})
endfunction()
