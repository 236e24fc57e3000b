/* Local messages: any packet is a message of ours or refused with a sentence, and its body lies inside the buffer. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/base/err.h"
#include "node/base/message.h"
#include "tests/fuzz/fuzz_env.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct message message;
    static int pair[2];
    struct err err = {0};
    if (!pair[0] && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
        abort();
    if (!size || send(pair[0], data, size, 0) < 0)
        return 0;
    int rc = message_receive(pair[1], &message, &err);
    if (rc ? !*err.text : message.body_bytes > MESSAGE_BODY_MAX || message.body[message.body_bytes])
        abort();
    message_close_files(&message);
    return 0;
}
