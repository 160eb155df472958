# Functions of lists, for elements of any type that they have a meaning for.

possible sum<i64>, sum<i32>, sum<f64>, sum<u8>
possible sort<i64>, sort<i32>, sort<f64>, sort<u8>
possible push<i64>, push<i32>, push<f64>, push<u8>
possible get<i64>, get<i32>, get<f64>, get<u8>
possible squares<i64>, squares<i32>, squares<f64>, squares<u8>

template sum<T>(list: ptr, count: i64) -> T
    local i: i64
    local total: T
    local item: T
more:
    br_ge i64 i, count, done
    load_element T item, list[i]
    add T total, total, item
    add i64 i, i, 1
    jump more
done:
    return T total
end

# Quicksort of the elements from low to high, by Hoare's partition; short runs by insertion.
template sort<T>(list: ptr, low: i64, high: i64)
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
    load_element T pivot, list[middle]
    sub i64 i, low, 1
    add i64 j, high, 1
up:
    add i64 i, i, 1
    load_element T a, list[i]
    br_lt T a, pivot, up
down:
    sub i64 j, j, 1
    load_element T b, list[j]
    br_gt T b, pivot, down
    br_ge i64 i, j, parted
    store_element T b, list[i]
    store_element T a, list[j]
    jump up
parted:
    call sort<T>(list, low, j)
    add i64 low, j, 1
    jump again
short:
    add i64 i, low, 1
next:
    br_gt i64 i, high, done
    load_element T a, list[i]
    move i64 j, i
shift:
    br_le i64 j, low, place
    load_element T b, list[j - 1]
    br_le T b, a, place
    store_element T b, list[j]
    sub i64 j, j, 1
    jump shift
place:
    store_element T a, list[j]
    add i64 i, i, 1
    jump next
done:
    return_none
end

# A vector is its length, its capacity, both i64, and the elements behind them.
template push<T>(vector: ptr, item: T)
    local length: i64
    local capacity: i64
    local items: ptr
    load i64 length, vector
    load i64 capacity, vector + 8
    br_lt i64 length, capacity, room
    trap 100
room:
    element i64 items, vector[2]
    store_element T item, items[length]
    add i64 length, length, 1
    store i64 length, vector
    return_none
end

template get<T>(vector: ptr, index: i64) -> T
    local length: i64
    local items: ptr
    local item: T
    load i64 length, vector
    br_lt i64 index, 0, outside
    br_lt i64 index, length, inside
outside:
    trap 101
inside:
    element i64 items, vector[2]
    load_element T item, items[index]
    return T item
end

# Pushes the squares of 0 to count - 1, and gets the last.
template squares<T>(vector: ptr, count: i64) -> T
    local i: i64
    local item: T
more:
    br_ge i64 i, count, done
    convert T item, i64 i
    mul T item, item, item
    call push<T>(vector, item)
    add i64 i, i, 1
    jump more
done:
    sub i64 i, i, 1
    call item = get<T>(vector, i)
    return T item
end
