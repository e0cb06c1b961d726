# Write a machine's attributes into files, byte for byte: the JSON of attributes/?recursive=true, an object of
# texts, on standard input.
#   -v directory=DIR   where NAME is written for each attribute named stoneware-…, and for the scripts
# The text is cut at its quotes: odd pieces are outside of strings. No string is put together that can be long.
{ text = NR > 1 ? text "\n" $0 : $0 }

END {
    pieces = split(text, piece, "\"")
    for (i = 2; i <= pieces; i++) {
        key = piece[i]
        while (escapes(piece[i]) && i < pieces) key = key "\"" piece[++i]
        if (piece[++i] !~ /^[ \t\r\n]*:[ \t\r\n]*$/) continue # its value is no text
        file = key ~ /^(stoneware-[a-z0-9-]+|(startup|shutdown)-script(-url)?)$/ ? directory "/" key : ""
        if (file != "") printf "" >file
        do {
            more = escapes(piece[++i])
            if (file != "") decode(more ? substr(piece[i], 1, length(piece[i]) - 1) : piece[i])
            if (more && file != "") printf "\"" >file
        } while (more && i < pieces)
        if (file != "") close(file)
        i++ # what is behind the string
    }
}

# Whether the quote behind this piece belongs to the string: an odd number of backslashes is before it.
function escapes(s) { return match(s, /[\\]+$/) && RLENGTH % 2 }

function decode(s,    part, n, k, c, code) {
    n = split(s, part, "\\")
    if (n) put(part[1])
    for (k = 2; k <= n; k++) {
        c = substr(part[k], 1, 1)
        if (c == "") { put("\\"); put(part[++k]); continue }
        if (c == "u") {
            code = hex(substr(part[k], 2, 4))
            if (code >= 55296 && code < 56320 && length(part[k]) == 5 && part[k + 1] ~ /^u[dD][c-fC-F]/)
                code = 65536 + (code - 55296) * 1024 + hex(substr(part[++k], 2, 4)) - 56320
            put(utf8(code) substr(part[k], 6))
            continue
        }
        put((c == "n" ? "\n" : c == "r" ? "\r" : c == "t" ? "\t" : c == "b" ? "\b" : c == "f" ? "\f" : c) \
            substr(part[k], 2))
    }
}

function put(s) { printf "%s", s >file }

function hex(s,    k, n) {
    for (k = 1; k <= length(s); k++) n = n * 16 + index("0123456789abcdef", tolower(substr(s, k, 1))) - 1
    return n
}

function utf8(n) {
    if (n < 128) return sprintf("%c", n)
    if (n < 2048) return sprintf("%c%c", 192 + int(n / 64), 128 + n % 64)
    if (n < 65536) return sprintf("%c%c%c", 224 + int(n / 4096), 128 + int(n / 64) % 64, 128 + n % 64)
    return sprintf("%c%c%c%c", 240 + int(n / 262144), 128 + int(n / 4096) % 64, 128 + int(n / 64) % 64, 128 + n % 64)
}
