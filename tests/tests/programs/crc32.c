// CRC-32 (IEEE 802.3), four bits at a time, over a table in read-only data.
#include <stdint.h>

static const uint32_t table[16] = {
    0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
    0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
};
static const char digits[] = "123456789";

int64_t crc32(const uint8_t *data, int64_t len) {
    uint32_t crc = 0xffffffff;
    for (int64_t i = 0; i < len; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return crc ^ 0xffffffff;
}

int64_t crc32_of_digits(void) {
    return crc32((const uint8_t *)digits, sizeof digits - 1);
}
