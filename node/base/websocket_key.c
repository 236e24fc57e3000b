#include "node/base/websocket_key.h"

#include <openssl/evp.h>
#include <stdio.h>

bool websocket_key_accept(const char *key, char accept[WEBSOCKET_KEY_ROOM])
{
    char text[64];
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned bytes;
    int n = snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    if (EVP_Digest(text, (size_t)n, hash, &bytes, EVP_sha1(), NULL) !=
        1) /* as the protocol wants it: nothing is secret */
        return false;
    EVP_EncodeBlock((unsigned char *)accept, hash, (int)bytes);
    return true;
}
