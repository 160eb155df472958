# Typical generic functions.

template max<T>(a: T, b: T) -> T
    br_ge T a, b, first
    return T b
first:
    return T a
end

template sum<T>(data: ptr, count: i64) -> T
    local i: i64
    local total: T
    local item: T
    const i64 i, 0
    const T total, 0
    br_le i64 count, 0, done
more:
    load_element T item, data[i]
    add T total, total, item
    add i64 i, i, 1
    br_lt i64 i, count, more
done:
    return T total
end

template divide<T>(a: T, b: T) -> T
    div T a, a, b
    return T a
end

template fib<T>(n: T) -> T
    local a: T
    local b: T
    br_ge T n, 2, more
    return T n
more:
    sub T a, n, 1
    call a = fib<T>(a)
    sub T b, n, 2
    call b = fib<T>(b)
    add T a, a, b
    return T a
end

# Quicksort by Hoare's partition; short runs by insertion.
template sort<T>(data: ptr, low: i64, high: i64)
    local i: i64
    local j: i64
    local middle: i64
    local pivot: T
    local a: T
    local b: T
again:
    sub i64 middle, high, low
    br_lt i64 middle, 16, short
    shr i64 middle, middle, 1
    add i64 middle, middle, low
    load_element T pivot, data[middle]
    sub i64 i, low, 1
    add i64 j, high, 1
up:
    add i64 i, i, 1
    load_element T a, data[i]
    br_lt T a, pivot, up
down:
    sub i64 j, j, 1
    load_element T b, data[j]
    br_gt T b, pivot, down
    br_ge i64 i, j, parted
    store_element T b, data[i]
    store_element T a, data[j]
    jump up
parted:
    call sort<T>(data, low, j)
    add i64 low, j, 1
    jump again
short:
    add i64 i, low, 1
next:
    br_gt i64 i, high, done
    load_element T a, data[i]
    move i64 j, i
shift:
    br_le i64 j, low, place
    load_element T b, data[j - 1]
    br_le T b, a, place
    store_element T b, data[j]
    sub i64 j, j, 1
    jump shift
place:
    store_element T a, data[j]
    add i64 i, i, 1
    jump next
done:
    return_none
end

# A vector is 24 bytes: data, length, capacity.
template "Vec.push"<T>(this: ptr, value: T)
    local data: ptr
    local len: u64
    local capacity: u64
    local old: ptr
    local size: u64
    local i: u64
    local item: T
    load ptr data, this
    load u64 len, this + 8
    load u64 capacity, this + 16
    br_lt u64 len, capacity, room
    mul u64 capacity, capacity, 2
    br_ne u64 capacity, 0, grow
    const u64 capacity, 4
grow:
    move ptr old, data
    size_of T size
    mul u64 size, size, capacity
    call_host data = allocate(size)
    const u64 i, 0
copy:
    br_ge u64 i, len, copied
    load_element T item, old[i]
    store_element T item, data[i]
    add u64 i, i, 1
    jump copy
copied:
    store ptr data, this
    store u64 capacity, this + 16
room:
    store_element T value, data[len]
    add u64 len, len, 1
    store u64 len, this + 8
    return_none
end

template "Vec.get"<T>(this: ptr, index: u64) -> T
    local data: ptr
    local len: u64
    local item: T
    load u64 len, this + 8
    br_lt u64 index, len, inside
    trap 16
inside:
    load ptr data, this
    load_element T item, data[index]
    return T item
end
