/* SPDX-License-Identifier: MIT
 *
 * The lane of a queue that is leased for each put: any number of processes put, and each function is stopped in front of
 * every atomic access: killed there, or overtaken.
 */
#include "steps.h"

#include "queue_fixture.h"
#include "core/queue_bound.h"
#include "core/queue_turns.h"

static struct queue_bench queue;
static struct memlane_queue_lane growth[QUEUE_LANES];
static enum memlane_status answer, others_answer;
static uint64_t maxsize;
static uint32_t dead_putter;

enum { LAST = QUEUE_LANES - 1, ERIN = 0x801, FRANK = 0x802, GRACE = 0x803 };

static struct memlane_lane_control *last(void) { return queue.lanes[LAST].control; }

static void new_queue(uint64_t bound) {
    memset(growth, 0, sizeof growth);
    queue_new(&queue);
    maxsize = bound;
    dead_putter = 0;
    for (uint32_t lane = 0; lane < memlane_queue_lasting(QUEUE_LANES); lane++)
        CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, lane));
}

/* One put by a turn, as a process does it. MEMLANE_BUSY: a process that lives has the lane. */
static enum memlane_status put_by_turn(uint32_t tag, char letter) {
    uint32_t found = memlane_lane_owner(last());
    if (found > MEMLANE_OWNER_CLOSED && found != dead_putter)
        return MEMLANE_BUSY;
    enum memlane_status status = memlane_queue_turn_take(last(), found, tag);
    if (status != MEMLANE_OK)
        return status;
    struct memlane_queue_producer producer = {.control = queue.control, .lanes = QUEUE_LANES, .lane = LAST};
    producer.producer.lane = queue.lanes[LAST];
    producer.producer.ring = &queue.control->ring;
    producer.producer.tag = tag;
    struct memlane_bound bound = {.control = queue.control,
                                  .of_lanes = growth,
                                  .many = queue.many,
                                  .maxsize = maxsize,
                                  .lanes = QUEUE_LANES,
                                  .lane = LAST};
    char record[8];
    memset(record, letter, sizeof record);
    status = memlane_queue_adopt(&producer);
    if (status == MEMLANE_OK)
        status = memlane_bound_adopt(&bound, producer.producer.next);
    if (status == MEMLANE_OK)
        status = memlane_bound_take(&bound, 1);
    if (status == MEMLANE_OK) {
        status = memlane_queue_put(&producer, record, sizeof record);
        if (status == MEMLANE_OK)
            memlane_bound_use(&bound, 1);
        memlane_bound_return(&bound);
    }
    (void)memlane_queue_turn_end(last(), tag);
    return status;
}

TEST(more_processes_put_than_there_are_lanes_and_all_is_in_order) {
    new_queue(1000);
    for (int round = 0; round < 30; round++) {
        CHECK_EQUAL(MEMLANE_OK, put_by_turn(0x1000 + (uint32_t)round, 'a'));
        queue_put_all(&queue, (uint32_t)round % LAST, "b");
        CHECK_EQUAL(MEMLANE_OK, put_by_turn(0x2000 + (uint32_t)round, 'c'));
        queue_check_gets(&queue, "abc");
    }
    CHECK_EQUAL(MEMLANE_OWNER_DEPARTED, memlane_lane_owner(last()));
    queue_free(&queue);
}

TEST(a_process_stopped_inside_a_turn_holds_up_only_those_that_share_the_lane) {
    new_queue(1000);
    CHECK_EQUAL(MEMLANE_OK, put_by_turn(ERIN, 'a'));
    CHECK_EQUAL(MEMLANE_OK, memlane_queue_turn_take(last(), MEMLANE_OWNER_DEPARTED, FRANK)); /* and stands still */
    CHECK_EQUAL(MEMLANE_BUSY, put_by_turn(GRACE, 'x'));
    CHECK(!memlane_queue_turn_any(&queue.control->ring, last(), FRANK));
    for (uint32_t lane = 0; lane < LAST; lane++)
        queue_put_all(&queue, lane, "b");
    queue_check_gets(&queue, "abbb");
    CHECK(!memlane_queue_turn_end(last(), FRANK));
    CHECK(memlane_queue_turn_any(&queue.control->ring, last(), FRANK));
    CHECK_EQUAL(MEMLANE_OK, put_by_turn(GRACE, 'c'));
    queue_check_gets(&queue, "c");
    queue_free(&queue);
}

TEST(the_end_of_a_turn_tells_whether_somebody_waits_for_the_lane) {
    new_queue(1000);
    CHECK_EQUAL(MEMLANE_OK, memlane_queue_turn_take(last(), MEMLANE_OWNER_NEVER, FRANK));
    memlane_waiters_announce(&last()->waiters);
    CHECK(!memlane_queue_turn_any(&queue.control->ring, last(), FRANK));
    CHECK(memlane_queue_turn_end(last(), FRANK));
    memlane_ring_shut(&queue.control->ring, MEMLANE_SHUTDOWN_DRAIN);
    CHECK(memlane_queue_turn_any(&queue.control->ring, last(), MEMLANE_OWNER_DEPARTED));
    queue_free(&queue);
}

TEST(a_lane_that_was_closed_before_its_first_turn_is_never_taken) {
    new_queue(1000);
    memlane_ring_shut(&queue.control->ring, MEMLANE_SHUTDOWN_DRAIN);
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_lane_close_unleased(last()));
    CHECK_EQUAL(MEMLANE_CLOSED, put_by_turn(ERIN, 'a'));
    queue_free(&queue);
}

static void erin_puts(void) { answer = put_by_turn(ERIN, 'e'); }
static void frank_puts(void) { others_answer = put_by_turn(FRANK, 'f'); }
static void grace_puts(void) { answer = put_by_turn(GRACE, 'g'); }

TEST(a_process_killed_in_front_of_any_access_of_a_turn_is_replaced_and_has_put_its_record_or_nothing) {
    bool died = true;
    for (long k = 0; died; k++) {
        bool next_died = true;
        for (long j = 0; next_died; j++) { /* and the next one, everywhere, and the third one lives */
            new_queue(4);
            CHECK_EQUAL(MEMLANE_OK, put_by_turn(GRACE, 'a'));
            died = dies_at(k, erin_puts);
            dead_putter = ERIN;
            next_died = dies_at(j, frank_puts);
            bool put_by_frank = !next_died && others_answer == MEMLANE_OK;
            dead_putter = memlane_lane_owner(last());
            grace_puts();
            CHECK_EQUAL(MEMLANE_OK, answer);
            char found[16];
            size_t count = 0;
            while ((found[count] = queue_get(&queue, BOB)) != 0)
                count++;
            CHECK(count >= 2 && count <= 4 && found[0] == 'a' && found[count - 1] == 'g');
            CHECK(strspn(found, "aefg") == count);
            CHECK(!put_by_frank || strchr(found, 'f'));
            CHECK(died || found[1] == 'e');
            for (int i = 0; i < 4; i++) /* no permit was lost */
                CHECK_EQUAL(MEMLANE_OK, put_by_turn(GRACE, 'z'));
            CHECK_EQUAL(MEMLANE_FULL, put_by_turn(GRACE, 'z'));
            queue_check_gets(&queue, "zzzz");
            queue_free(&queue);
            CHECK(j < 1000);
        }
        CHECK(k < 1000);
    }
}

TEST(a_turn_overtaken_at_any_access_by_another_process_goes_on_or_was_not_begun) {
    bool met = true;
    for (long k = 0; met; k++) {
        new_queue(1000);
        met = meets_at(k, erin_puts, frank_puts);
        CHECK(answer == MEMLANE_OK || (met && answer == MEMLANE_BUSY && others_answer == MEMLANE_OK));
        if (met)
            CHECK(others_answer == MEMLANE_OK || others_answer == MEMLANE_BUSY);
        uint64_t count = 0;
        while (queue_get(&queue, BOB))
            count++;
        CHECK_EQUAL((uint64_t)(answer == MEMLANE_OK) + (uint64_t)(met && others_answer == MEMLANE_OK), count);
        CHECK_EQUAL(MEMLANE_OWNER_DEPARTED, memlane_lane_owner(last()));
        queue_free(&queue);
        CHECK(k < 1000);
    }
}

MAIN
