/* A stand-in for the Simple runtime, with the signatures and meanings of its public sources. */
#ifndef SPL_RUNTIME_H
#define SPL_RUNTIME_H

#include <stdbool.h>
#include <stdint.h>

/* Values: values.c. */
#define NIL 0x3
#define TRUE_VALUE 0xb
#define FALSE_VALUE 0x13
#define ERROR_VALUE 0x1b

int64_t rt_string_new(const uint8_t *bytes, uint64_t length);
int64_t rt_string_len(int64_t value);
const uint8_t *rt_string_data(int64_t value);
int64_t rt_array_new(int64_t capacity);
int8_t rt_array_push(int64_t array, int64_t word);
int64_t rt_array_len(int64_t array);
int64_t rt_array_get(int64_t array, int64_t index);
int64_t rt_byte_array_new(uint64_t capacity);
int64_t rt_byte_array_new_len(uint64_t length);
int64_t rt_array_data_ptr(int64_t array);
int64_t rt_array_data_ptr_u8(int64_t array);
int64_t rt_array_bytes_basis_len(int64_t array);
int64_t rt_array_bytes_copy_checked(int64_t array, uint8_t *out, int64_t capacity);
int64_t rt_array_header_ptr(int64_t array);
int8_t rt_array_set_len_known(int64_t header, int64_t length);
int64_t rt_tuple_new(int64_t length);
int8_t rt_tuple_set(int64_t tuple, int64_t index, int64_t word);
int64_t rt_tuple_get(int64_t tuple, int64_t index);
int64_t rt_tuple_len(int64_t tuple);
int64_t rt_value_int(int64_t number);
int64_t rt_value_as_int(int64_t value);

/* Mappings: mapping.c. */
bool rt_munmap(void *address, int64_t size);
bool rt_madvise(void *address, int64_t size, int64_t advice);
bool rt_msync(void *address, int64_t size);
int64_t rt_mmap_raw(int64_t address, int64_t length, int64_t prot, int64_t flags, int64_t fd, int64_t offset);
int64_t rt_munmap_raw(int64_t address, int64_t length);
int64_t rt_mprotect(int64_t address, int64_t length, int64_t prot);
int64_t rt_madvise_raw(int64_t address, int64_t length, int64_t advice);
int64_t rt_msync_flags(int64_t address, int64_t length, int64_t flags);
int64_t rt_mlock(int64_t address, int64_t length);
int64_t rt_munlock(int64_t address, int64_t length);
int64_t rt_open_fd(const char *path, int64_t flags, int64_t mode);
int64_t rt_close_fd(int64_t fd);
int64_t rt_page_size(void);

/* Raw memory and calls: memory.c. */
int64_t rt_ptr_read_u8(int64_t address, int64_t offset);
void rt_ptr_write_u8(int64_t address, int64_t offset, int64_t value);
void rt_ptr_write_i32(int64_t address, int64_t offset, int32_t value);
void rt_ptr_write_i64(int64_t address, int64_t offset, int64_t value);
int64_t rt_ptr_write_bytes_raw(int64_t address, int64_t offset, int64_t source, int64_t length);
int64_t rt_call_ptr_0(int64_t address);
int64_t rt_call_ptr_1(int64_t address, int64_t a);
int64_t rt_call_ptr_2(int64_t address, int64_t a, int64_t b);
int64_t rt_call_ptr_3(int64_t address, int64_t a, int64_t b, int64_t c);

/* How often functions of mapping.c and memory.c were called; other programs define them weakly, as 0. */
extern int runtime_mapping_calls, runtime_memory_calls;

#endif
