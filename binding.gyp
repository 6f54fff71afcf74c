{
  "targets": [
    {
      "target_name": "shardfetch",
      "sources": [
        "native/addon.cpp",
        "native/instance.cpp",
        "native/socket.cpp",
        "native/address.cpp",
        "native/poller.cpp",
        "native/loop_callback.cpp",
        "native/loop_watch.cpp",
        "native/socket_watches.cpp",
        "native/descriptor_poll.cpp",
        "native/wakeup.cpp",
        "native/alarm.cpp",
        "native/resolver.cpp",
        "native/tls.cpp",
        "native/tls_connection.cpp",
        "native/tls_layer.cpp",
        "native/tls_context.cpp",
        "native/old_systems.cpp",
      ],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": [
        "NAPI_VERSION=9",
        "NODE_ADDON_API_DISABLE_DEPRECATED",
        "NAPI_DISABLE_CPP_EXCEPTIONS",
        # A thread that is terminated while it loads the addon can be told of nothing; without this the whole process aborts.
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
      ],
      "cflags!": ["-O3"],
      "cflags": ["-O2", "-Wall", "-Wextra", "-fvisibility=hidden"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=c++20", "-fvisibility-inlines-hidden"],
      # nodelete: Node unmaps an addon with the last worker that loaded it, while a libuv close callback or a thread in
      # getaddrinfo may still have to run its code.
      "ldflags": ["-Wl,-z,nodelete"],
    }
  ]
}
