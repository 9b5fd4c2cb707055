//! Partitions that move to other replicas.

use super::*;

const WANTED: Ticket = Ticket(5);

fn ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

/// Asks for new replicas of `t-0`; `None` takes the wish back. The refusal, if any.
fn reassign(office: &mut Office, target: Option<&[i32]>) -> Option<ReassignRefusal> {
    let partition = TopicPartition::new("t", 0);
    let wanted = BTreeMap::from([(partition.clone(), target.map(ids))]);
    office.tell(Event::AlterReassignments { ticket: WANTED, wanted });
    match office.replies.pop() {
        Some(Reply::Reassignments(mut results)) => results.remove(&partition).expect("an answer"),
        other => panic!("not an answer to AlterPartitionReassignments: {other:?}"),
    }
}

/// Replicas, adding and removing, as the topic's node has them.
fn written(office: &Office) -> (Vec<i32>, Vec<i32>, Vec<i32>) {
    let assignment = &office.tree.topics["t"].assignments[&0];
    let plain = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect();
    (plain(&assignment.replicas), plain(&assignment.adding), plain(&assignment.removing))
}

fn with_topic(brokers: &[i32], replicas: &[i32]) -> Office {
    let mut office = Office::open(brokers, Loaded::default());
    office.create("t", &[replicas]);
    office
}

#[test]
fn new_replicas_are_written_down_started_and_waited_for() {
    let mut office = with_topic(&[1, 2, 3], &[1, 2]);

    assert_eq!(reassign(&mut office, Some(&[3, 2])), None);

    assert_eq!(written(&office), (vec![3, 2, 1], vec![3], vec![1]));
    assert_eq!(office.state("t", 0), (1, 1, vec![1, 2], 1));
    assert_eq!(
        office.sent(),
        [
            "1 lead t-0:1@1",
            "2 lead t-0:1@1",
            "3 lead t-0!:1@1",
            "1 know t-0:1 of 1 2 3",
            "2 know t-0:1 of 1 2 3",
            "3 know t-0:1 of 1 2 3",
            "3 lead t-0!:1@1",
            "1 know t-0:1 of 1 2 3",
            "2 know t-0:1 of 1 2 3",
            "3 know t-0:1 of 1 2 3",
        ]
    );
}

#[test]
fn once_the_targets_are_in_sync_the_leader_moves_and_the_old_replica_is_deleted() {
    let mut office = with_topic(&[1, 2, 3], &[1, 2]);
    reassign(&mut office, Some(&[3, 2]));

    alter(&mut office, 1, isr_change("t", 1, &[1, 2, 3], 1)).expect("agreed");

    assert_eq!(written(&office), (vec![3, 2], vec![], vec![]));
    let (leader, _, isr, _) = office.state("t", 0);
    assert_eq!((leader, isr), (3, vec![2, 3]));
    let sent = office.sent();
    assert!(sent.contains(&"1 stop t-0!@3".to_owned()), "{sent:?}");
    assert!(office.controller.image().reassignments(None).is_empty());
    let last = office.tree.operations.last().expect("operations");
    let done = vec![(TopicPartition::new("t", 0), Some(ids(&[3, 2])))];
    assert_eq!(*last, Operation::DropReassignments(done));
}

#[test]
fn a_leader_that_stays_keeps_leading_in_a_new_epoch() {
    let mut office = with_topic(&[1, 2, 3], &[1, 2]);
    reassign(&mut office, Some(&[1, 3]));

    alter(&mut office, 1, isr_change("t", 1, &[1, 2, 3], 1)).expect("agreed");

    let (leader, epoch, isr, _) = office.state("t", 0);
    assert_eq!((leader, isr), (1, vec![1, 3]));
    assert!(epoch > 1);
    assert_eq!(written(&office).0, [1, 3]);
}

#[test]
fn a_wish_taken_back_stops_what_was_added_and_leaves_the_old_replicas() {
    let mut office = with_topic(&[1, 2, 3], &[1, 2]);
    reassign(&mut office, Some(&[3]));

    assert_eq!(reassign(&mut office, None), None);

    assert_eq!(written(&office), (vec![1, 2], vec![], vec![]));
    let sent = office.sent();
    assert!(sent.iter().any(|request| request.starts_with("3 stop t-0!")), "{sent:?}");
    assert_eq!(office.state("t", 0).2, [1, 2]);
    assert_eq!(reassign(&mut office, None), Some(ReassignRefusal::NotInProgress));
}

#[test]
fn a_later_wish_takes_the_place_of_the_earlier() {
    let mut office = with_topic(&[1, 2, 3, 4], &[1, 2]);
    reassign(&mut office, Some(&[3, 2]));

    assert_eq!(reassign(&mut office, Some(&[4, 2])), None);

    assert_eq!(written(&office), (vec![4, 2, 1], vec![4], vec![1]));
    let sent = office.sent();
    assert!(sent.iter().any(|request| request.starts_with("3 stop t-0!")), "{sent:?}");
}

#[test]
fn what_cannot_be_is_refused_in_kafkas_words() {
    let mut office = with_topic(&[1, 2], &[1]);
    let mut refused = |target: &[i32]| match reassign(&mut office, Some(target)) {
        Some(ReassignRefusal::InvalidReplicas(sentence)) => sentence,
        other => panic!("not refused: {other:?}"),
    };
    assert_eq!(refused(&[]), "Empty replica list specified in partition reassignment.");
    assert_eq!(
        refused(&[2, 2]),
        "Duplicate replica ids in partition reassignment replica list: ArrayBuffer(2, 2)"
    );
    assert_eq!(refused(&[-1]), "Invalid broker id in replica list: ArrayBuffer(-1)");
    assert_eq!(
        refused(&[1, 9]),
        "Replica assignment has brokers that are not alive. Replica list: ArrayBuffer(9), live broker list: Set(1, 2)"
    );
    let unknown = TopicPartition::new("u", 0);
    let wanted = BTreeMap::from([(unknown.clone(), Some(ids(&[1])))]);
    office.tell(Event::AlterReassignments { ticket: WANTED, wanted });
    let expected = BTreeMap::from([(unknown, Some(ReassignRefusal::UnknownPartition))]);
    assert_eq!(office.replies, [Reply::Reassignments(expected)]);
}

#[test]
fn the_next_controller_goes_on_where_the_former_stopped() {
    let mut record = topic("t", &[&[1, 2]]);
    let moving = Assignment::of(ids(&[1, 2])).reassigned_to(&ids(&[3, 2]));
    record.assignments.insert(0, moving);
    let state = Leadership {
        leader: BrokerId(1),
        leader_epoch: LeaderEpoch(4),
        isr: ids(&[1, 2, 3]),
        recovery: Recovery::Recovered,
        controller_epoch: 6,
        version: 9,
    };
    let partition = TopicPartition::new("t", 0);
    let loaded = Loaded {
        topics: vec![record],
        leaderships: BTreeMap::from([(partition.clone(), state)]),
        ..Loaded::default()
    };
    let office = Office::open(&[1, 2, 3], loaded);
    assert_eq!(written(&office), (vec![3, 2], vec![], vec![]));
    assert_eq!((office.state("t", 0).0, office.state("t", 0).2), (3, vec![2, 3]));
}

#[test]
fn a_target_that_is_away_is_waited_for() {
    let mut office = with_topic(&[1, 2], &[1]);
    let wanted = BTreeMap::from([(TopicPartition::new("t", 0), ids(&[3]))]);
    office.tell(Event::ReassignmentsRequested(wanted));
    assert_eq!(written(&office), (vec![3, 1], vec![3], vec![1]));

    office.brokers(&[(1, 100), (2, 100), (3, 200)]);

    assert!(office.sent().iter().any(|request| request.starts_with("3 lead t-0")), "{:?}", office.sent());
    assert_eq!(written(&office), (vec![3, 1], vec![3], vec![1]));
}

#[test]
fn what_an_old_tool_asked_for_in_vain_is_taken_off_its_list() {
    let mut office = with_topic(&[1], &[1]);
    let gone = TopicPartition::new("gone", 0);
    office.tell(Event::ReassignmentsRequested(BTreeMap::from([(gone.clone(), ids(&[1]))])));
    assert_eq!(office.tree.operations, [Operation::DropReassignments(vec![(gone, None)])]);
}

#[test]
fn in_sync_sets_that_leaders_wrote_themselves_are_told_to_all_and_complete_a_reassignment() {
    let mut office = with_topic(&[1, 2], &[1]);
    reassign(&mut office, Some(&[2]));
    let partition = TopicPartition::new("t", 0);
    let state = office.tree.states.get_mut(&partition).expect("a state");
    *state = Leadership { isr: ids(&[1, 2]), version: state.version + 1, ..state.clone() };
    let states = BTreeMap::from([(partition, state.clone())]);

    office.tell(Event::IsrChanged { states, notices: vec!["isr_change_0000000000".to_owned()] });

    assert_eq!(written(&office), (vec![2], vec![], vec![]));
    assert!(
        office.tree.operations.contains(&Operation::DropIsrNotices(vec!["isr_change_0000000000".to_owned()]))
    );
}
