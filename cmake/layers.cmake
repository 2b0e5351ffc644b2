# One library per layer, the generated Kafka codecs, and the program.

file(STRINGS "${CMAKE_SOURCE_DIR}/tools/layers.txt" TIDEMILL_LAYERS REGEX "^[a-z]+$")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
    "${CMAKE_SOURCE_DIR}/tools/layers.txt")
set(TIDEMILL_GEN_DIR "${CMAKE_BINARY_DIR}/gen")

# A layer's objects compile without waiting for the libraries before it; only programs need those.
set(CMAKE_OPTIMIZE_DEPENDENCIES ON)

# src/wire/kafka/messages.schema -> gen/wire/kafka/messages.{c,h}, included as
# "wire/kafka/messages.h".
# Called as: kafka_codegen.py SCHEMA OUTPUT_FOLDER
function(tidemill_kafka_codecs out_sources)
    set(schema "${CMAKE_SOURCE_DIR}/src/wire/kafka/messages.schema")
    set(generator "${CMAKE_SOURCE_DIR}/tools/kafka_codegen.py")
    set(${out_sources} "" PARENT_SCOPE)
    file(GLOB found CONFIGURE_DEPENDS "${schema}" "${generator}")
    list(LENGTH found count)
    if(NOT count EQUAL 2)
        return()
    endif()
    set(folder "${TIDEMILL_GEN_DIR}/wire/kafka")
    file(MAKE_DIRECTORY "${folder}")
    set(sources "${folder}/messages.c" "${folder}/messages.h")
    add_custom_command(
        OUTPUT ${sources}
        COMMAND /usr/bin/python3 "${generator}" "${schema}" "${folder}"
        DEPENDS "${schema}" "${generator}"
        COMMENT "Generating the Kafka codecs"
        VERBATIM)
    set(${out_sources} ${sources} PARENT_SCOPE)
endfunction()

# A layer without sources becomes an interface library, so that the layers after it still link.
function(tidemill_add_layer name before)
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/src/${name}/*.c")
    if(name STREQUAL "wire")
        tidemill_kafka_codecs(generated)
        list(APPEND sources ${generated})
    endif()
    if(sources)
        add_library(tm_${name} STATIC ${sources})
        set(scope PUBLIC)
    else()
        add_library(tm_${name} INTERFACE)
        set(scope INTERFACE)
    endif()
    target_include_directories(tm_${name} ${scope} "${TIDEMILL_GEN_DIR}")
    target_link_libraries(tm_${name} ${scope} ${before} ${TIDEMILL_LINKS_${name}})
    if(generated)
        add_custom_target(tm_kafka_codecs DEPENDS ${generated})
    endif()
endfunction()

# Defines tm_all: every layer, for the program, the tests and the benchmarks.
function(tidemill_add_layers)
    set(before "")
    foreach(layer IN LISTS TIDEMILL_LAYERS)
        tidemill_add_layer(${layer} "${before}")
        # Code of a later layer may include the generated header before the wire library is built.
        if(TARGET tm_kafka_codecs)
            get_target_property(type tm_${layer} TYPE)
            if(NOT type STREQUAL "INTERFACE_LIBRARY")
                add_dependencies(tm_${layer} tm_kafka_codecs)
            endif()
        endif()
        list(PREPEND before tm_${layer})
    endforeach()
    file(GLOB cli CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/src/cli/*.c")
    if(cli)
        add_library(tm_cli STATIC ${cli})
        target_link_libraries(tm_cli PUBLIC ${before})
        list(PREPEND before tm_cli)
    endif()
    add_library(tm_all INTERFACE)
    target_link_libraries(tm_all INTERFACE ${before})
endfunction()

# The release program is stripped; its debug information goes beside it as tidemill.debug, where gdb
# and perf find it by the debug link.
function(tidemill_add_program)
    file(GLOB main CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/src/main.c")
    if(NOT main)
        message(STATUS "src/main.c is not there: building libraries and tests only")
        return()
    endif()
    add_executable(tidemill ${main})
    target_link_libraries(tidemill PRIVATE tm_all)
    target_compile_definitions(tidemill PRIVATE TIDEMILL_VERSION="${PROJECT_VERSION}")
    set_target_properties(tidemill PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${TIDEMILL_BIN_DIR}")
    if(CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT TIDEMILL_SANITIZE)
        add_custom_command(TARGET tidemill POST_BUILD
            COMMAND ${CMAKE_OBJCOPY} --only-keep-debug tidemill tidemill.debug
            COMMAND ${CMAKE_OBJCOPY} --strip-debug --add-gnu-debuglink=tidemill.debug tidemill
            WORKING_DIRECTORY "${TIDEMILL_BIN_DIR}"
            VERBATIM)
    endif()
endfunction()
