# Unit tests, fuzz targets and benchmarks.
#
# A test source may carry a line `/* labels: threads slow */`: its words become ctest labels. The
# thread sanitizer's run is `ctest -L threads`.

# A bound for hangs, not for speed: a sanitizer on a busy machine is ten times slower.
set(TIDEMILL_TEST_SECONDS_MAX 600)
set(TIDEMILL_TEST_ENV
    "ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:strict_string_checks=1"
    "UBSAN_OPTIONS=print_stacktrace=1"
    "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1"
    "TIDEMILL_SOURCE_DIR=${CMAKE_SOURCE_DIR}")

function(tidemill_test_properties test source label)
    file(STRINGS "${source}" line REGEX "^/\\* labels: [a-z ]+\\*/" LIMIT_COUNT 1)
    set(labels ${label})
    if(line)
        string(REGEX REPLACE "^/\\* labels: ([a-z ]+)\\*/.*" "\\1" line "${line}")
        separate_arguments(line)
        list(APPEND labels ${line})
    endif()
    set_tests_properties(${test} PROPERTIES
        LABELS "${labels}"
        TIMEOUT ${TIDEMILL_TEST_SECONDS_MAX}
        ENVIRONMENT "${TIDEMILL_TEST_ENV}")
endfunction()

# test/unit/log/test_segment.c -> executable and ctest test_log_segment.
function(tidemill_add_test_file source label)
    get_filename_component(folder "${source}" DIRECTORY)
    get_filename_component(folder "${folder}" NAME)
    get_filename_component(name "${source}" NAME_WE)
    string(REGEX REPLACE "^test_" "test_${folder}_" name "${name}")
    add_executable(${name} "${source}")
    target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}/test")
    # A layer's unit tests link that layer and those below, so that they need nothing else to build.
    set(layers tm_all)
    if(label STREQUAL "unit" AND TARGET tm_${folder})
        set(layers tm_${folder})
    endif()
    target_link_libraries(${name} PRIVATE
        tm_test_support ${layers} PkgConfig::CMOCKA PkgConfig::LIBPQ Threads::Threads m)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/test")
    add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY "${CMAKE_BINARY_DIR}/test")
    tidemill_test_properties(${name} "${source}" ${label})
endfunction()

function(tidemill_add_tests)
    file(MAKE_DIRECTORY "${CMAKE_BINARY_DIR}/test")
    file(GLOB support CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/test/support/*.c")
    if(support)
        add_library(tm_test_support STATIC ${support})
        set(scope PUBLIC)
    else()
        add_library(tm_test_support INTERFACE)
        set(scope INTERFACE)
    endif()
    target_include_directories(tm_test_support ${scope}
        "${CMAKE_SOURCE_DIR}/test" "${TIDEMILL_GEN_DIR}")
    if(support AND TARGET tm_kafka_codecs)
        add_dependencies(tm_test_support tm_kafka_codecs)
    endif()
    file(GLOB_RECURSE units CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/test/unit/test_*.c")
    foreach(source IN LISTS units)
        tidemill_add_test_file("${source}" unit)
    endforeach()
    file(GLOB sims CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/test/sim/test_*.c")
    foreach(source IN LISTS sims)
        tidemill_add_test_file("${source}" sim)
    endforeach()
endfunction()

# With TIDEMILL_FUZZ a target fuzzes; otherwise the same entry point runs over its corpus,
# test/fuzz/corpus/<name>.
function(tidemill_add_fuzz_targets)
    file(GLOB targets CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/test/fuzz/fuzz_*.c")
    foreach(source IN LISTS targets)
        get_filename_component(name "${source}" NAME_WE)
        string(REGEX REPLACE "^fuzz_" "" short "${name}")
        set(corpus "${CMAKE_SOURCE_DIR}/test/fuzz/corpus/${short}")
        if(TIDEMILL_FUZZ)
            add_executable(${name} "${source}")
            target_link_options(${name} PRIVATE -fsanitize=fuzzer)
        else()
            add_executable(${name} "${source}" "${CMAKE_SOURCE_DIR}/test/fuzz/replay_main.c")
            add_test(NAME ${name} COMMAND ${name} "${corpus}")
            tidemill_test_properties(${name} "${source}" fuzz)
        endif()
        target_link_libraries(${name} PRIVATE tm_test_support tm_all)
        set_target_properties(${name} PROPERTIES
            RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/fuzz")
    endforeach()
endfunction()

function(tidemill_add_benchmarks)
    file(GLOB benches CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/bench/*.c")
    foreach(source IN LISTS benches)
        get_filename_component(name "${source}" NAME_WE)
        if(NOT name MATCHES "^bench")
            set(name "bench_${name}")
        endif()
        add_executable(${name} "${source}")
        target_link_libraries(${name} PRIVATE tm_all PkgConfig::RDKAFKA PkgConfig::LIBPQ)
        set_target_properties(${name} PROPERTIES
            RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bench")
    endforeach()
endfunction()
