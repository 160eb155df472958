/* The values of the runtime, with the meanings of its C sources; with RUST_RUNTIME, those of its Rust sources where they
 * differ; with OLD_RUNTIME, without the accessors that older generations lack. Every object is registered, and only
 * registered objects are accepted. Nothing is freed. */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>

enum kind { STRING = 1, ARRAY, TUPLE };
enum { IS_TUPLE = 0x01, IS_BYTES = 0x08 };

struct object {
    uint8_t kind, flags;
    int64_t length, capacity; /* in elements */
    void *data;
    struct object *next; /* of the registry */
};

static struct object *registry;

static int64_t register_object(enum kind kind, int flags, int64_t length, int64_t capacity, size_t element) {
    struct object *object = calloc(1, sizeof *object);
    *object = (struct object){(uint8_t)kind, (uint8_t)flags, length, capacity, NULL, registry};
    object->data = calloc((size_t)capacity + 1, element);
    registry = object;
    return (int64_t)(intptr_t)object | 1;
}

static struct object *find(int64_t value, enum kind kind) {
    for (struct object *object = registry; object; object = object->next) {
        if (((int64_t)(intptr_t)object | 1) == value) {
            return object->kind == kind ? object : NULL;
        }
    }
    return NULL;
}

static bool is_registered(int64_t value) { return find(value, STRING) || find(value, ARRAY) || find(value, TUPLE); }

int64_t rt_string_new(const uint8_t *bytes, uint64_t length) {
    int64_t value = register_object(STRING, 0, (int64_t)length, (int64_t)length, 1);
    memcpy(find(value, STRING)->data, bytes, length);
#ifdef RUST_RUNTIME
    ((char *)find(value, STRING)->data)[length] = 'x'; /* no NUL */
#endif
    return value;
}

/* The C runtime takes another word from 0x10000 on for the address of a NUL-terminated string. */
static bool is_raw(int64_t value) {
#ifdef RUST_RUNTIME
    (void)value;
    return false;
#else
    return value >= 0x10000 && !is_registered(value);
#endif
}

int64_t rt_string_len(int64_t value) {
    struct object *string = find(value, STRING);
    return string ? string->length : is_raw(value) ? (int64_t)strlen((char *)(intptr_t)value) : -1;
}

const uint8_t *rt_string_data(int64_t value) {
    struct object *string = find(value, STRING);
    return string ? string->data : is_raw(value) ? (uint8_t *)(intptr_t)value : NULL;
}

int64_t rt_value_int(int64_t number) { return (int64_t)((uint64_t)number << 3); }
int64_t rt_value_as_int(int64_t value) { return value >> 3; }

int64_t rt_array_new(int64_t capacity) { return register_object(ARRAY, 0, 0, capacity < 4 ? 4 : capacity, 8); }

/* Reserves: the length is 0. */
int64_t rt_byte_array_new(uint64_t capacity) { return register_object(ARRAY, IS_BYTES, 0, (int64_t)capacity, 1); }

int8_t rt_array_push(int64_t array, int64_t word) {
    struct object *object = find(array, ARRAY);
    if (!object) {
        return 0;
    }
    size_t element = object->flags & IS_BYTES ? 1 : 8;
    if (object->length == object->capacity) {
        object->capacity = object->capacity * 2 + 4;
        object->data = realloc(object->data, (size_t)object->capacity * element);
    }
    if (element == 1) {
        ((uint8_t *)object->data)[object->length++] = (uint8_t)rt_value_as_int(word);
    } else {
        ((int64_t *)object->data)[object->length++] = word;
    }
    return 1;
}

int64_t rt_array_len(int64_t array) {
#ifdef RUST_RUNTIME
    return find(array, ARRAY) ? find(array, ARRAY)->length : array == 0 ? 0 : -1;
#else
    return find(array, ARRAY) ? find(array, ARRAY)->length : 0;
#endif
}

int64_t rt_array_get(int64_t array, int64_t index) {
    struct object *object = find(array, ARRAY);
    if (!object || index < 0 || index >= object->length) {
        return NIL;
    }
    if (object->flags & IS_BYTES) {
        int64_t byte = ((uint8_t *)object->data)[index];
#ifdef RUST_RUNTIME
        return rt_value_int(byte);
#else
        return byte;
#endif
    }
    return ((int64_t *)object->data)[index];
}

int64_t rt_array_data_ptr(int64_t array) { return find(array, ARRAY) ? (int64_t)(intptr_t)find(array, ARRAY)->data : 0; }

int64_t rt_array_data_ptr_u8(int64_t array) {
#ifdef RUST_RUNTIME
    static uint8_t converted[4096];
    struct object *object = find(array, ARRAY);
    if (object && !(object->flags & IS_BYTES)) {
        for (int64_t i = 0; i < object->length; i++) {
            converted[i] = (uint8_t)rt_value_as_int(((int64_t *)object->data)[i]);
        }
        return (int64_t)(intptr_t)converted;
    }
#endif
    return rt_array_data_ptr(array);
}

int64_t rt_array_header_ptr(int64_t array) { return find(array, ARRAY) ? array & ~INT64_C(7) : 0; }

int8_t rt_array_set_len_known(int64_t header, int64_t length) {
    struct object *object = find(header | 1, ARRAY);
    if (!object || length < 0 || length > object->capacity) {
        return 0;
    }
    object->length = length;
    return 1;
}

#ifndef OLD_RUNTIME
int64_t rt_byte_array_new_len(uint64_t length) {
    return register_object(ARRAY, IS_BYTES, (int64_t)length, (int64_t)length, 1);
}

int64_t rt_array_bytes_basis_len(int64_t array) {
    struct object *object = find(array, ARRAY);
    return object && object->flags & IS_BYTES ? object->length : -1;
}

int64_t rt_array_bytes_copy_checked(int64_t array, uint8_t *out, int64_t capacity) {
    struct object *object = find(array, ARRAY);
    if (!object || object->flags & IS_TUPLE || object->length > capacity) {
        return -22;
    }
    for (int64_t i = 0; i < object->length; i++) {
        int64_t word = object->flags & IS_BYTES ? rt_value_int(((uint8_t *)object->data)[i]) : rt_array_get(array, i);
        if (word & 7 || word < 0 || word > 255 << 3) {
            return -22;
        }
        out[i] = (uint8_t)rt_value_as_int(word);
    }
    return object->length;
}
#endif

#ifdef RUST_RUNTIME
#define TUPLE_KIND TUPLE
#else
#define TUPLE_KIND ARRAY
#endif

int64_t rt_tuple_new(int64_t length) { return register_object(TUPLE_KIND, IS_TUPLE, length, length, 8); }

static struct object *tuple(int64_t value) {
    struct object *object = find(value, TUPLE_KIND);
    return object && object->flags & IS_TUPLE ? object : NULL;
}

int8_t rt_tuple_set(int64_t value, int64_t index, int64_t word) {
    if (!tuple(value) || index < 0 || index >= tuple(value)->length) {
        return 0;
    }
    ((int64_t *)tuple(value)->data)[index] = word;
    return 1;
}

int64_t rt_tuple_get(int64_t value, int64_t index) {
    bool inside = tuple(value) && index >= 0 && index < tuple(value)->length;
    return inside ? ((int64_t *)tuple(value)->data)[index] : NIL;
}

int64_t rt_tuple_len(int64_t value) { return tuple(value) ? tuple(value)->length : -1; }
