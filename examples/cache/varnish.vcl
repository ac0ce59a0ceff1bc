# Varnish as a cache in front of a mirror. Start it with `-p http_gzip_support=off`: otherwise it asks for gzip for every client
# and decompresses for those that take none, and clients do not share what the mirror has compressed with zstd or brotli.
vcl 4.1;

backend mirror {
    .host = "127.0.0.1";
    .port = "8080";
    .probe = {
        .url = "/-/readyz";
        .interval = 1s;
        .window = 3;
        .threshold = 2;
    }
}

sub vcl_recv {
    # Probes and metrics stay private; webhooks of a git host come from outside.
    if (req.url ~ "^/-/" && req.url != "/-/push") {
        return (synth(404));
    }
    # X-Forwarded-For is Varnish's own; what clients send as Forwarded is not passed on.
    unset req.http.Forwarded;
    # One copy for each set of encodings, not for each spelling of the header.
    set req.http.X-Accepted = "identity";
    if (req.http.Accept-Encoding ~ "gzip(?! *; *q=0)") {
        set req.http.X-Accepted = req.http.X-Accepted + ", gzip";
    }
    if (req.http.Accept-Encoding ~ "br(?! *; *q=0)") {
        set req.http.X-Accepted = req.http.X-Accepted + ", br";
    }
    if (req.http.Accept-Encoding ~ "zstd(?! *; *q=0)") {
        set req.http.X-Accepted = req.http.X-Accepted + ", zstd";
    }
    set req.http.Accept-Encoding = req.http.X-Accepted;
    unset req.http.X-Accepted;
}

sub vcl_backend_response {
    # Metadata is asked for again after a second, with its entity tag, so the mirror answers 304. Archives stay for their year.
    set beresp.grace = 0s;
    set beresp.keep = 1d;
}

sub vcl_deliver {
    # Where gzip support is on: these are not the bytes that are sent.
    if (resp.http.Content-Encoding == "gzip" && req.http.Accept-Encoding !~ "gzip") {
        unset resp.http.Repr-Digest;
    }
}
