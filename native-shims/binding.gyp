{
  "targets": [
    {
      "target_name": "netraid",
      "sources": ["glue.c", "engine.c", "slab.c", "file.c", "pool.c", "work.c", "conn.c", "server.c", "serve.c", "piped.c", "order.c", "lend.c", "room.c", "client.c", "send.c", "crc.c", "fallocate.c", "descriptor.c", "ktls.c", "door.c", "pressure.c"],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE", "_FILE_OFFSET_BITS=64", "NETRAID_SOURCES=<!(node sources.cjs)"],
      "cflags": ["-std=c11", "-Wall", "-Wextra", "-Wno-unused-parameter"],
      "libraries": ["-pthread"]
    }
  ]
}
