//! What the plan does, one promise a test.

use super::*;

#[test]
fn a_new_topic_gets_its_directories_then_states_then_the_brokers_hear_of_it() {
    let mut office = Office::open(&[0], Loaded::default());
    assert_eq!(office.sent(), ["0 know  of 0"]);

    office.create("t", &[&[0], &[0]]);

    let (zero, one) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
    let leadership = Leadership {
        leader: BrokerId(0),
        leader_epoch: LeaderEpoch(0),
        isr: vec![BrokerId(0)],
        recovery: Recovery::Recovered,
        controller_epoch: 7,
        version: 0,
    };
    assert_eq!(
        office.tree.operations,
        [
            Operation::CreateTopicDirectory(Arc::from("t")),
            Operation::CreatePartitionDirectory(zero.clone()),
            Operation::CreatePartitionDirectory(one.clone()),
            Operation::CreateState(zero, leadership.clone()),
            Operation::CreateState(one, leadership),
        ]
    );
    assert_eq!(office.sent(), ["0 lead t-0!:0@0 t-1!:0@0", "0 know t-0:0 t-1:0 of 0"]);
}

#[test]
fn dead_replicas_are_not_in_the_first_in_sync_set() {
    let mut office = Office::open(&[1, 2], Loaded::default());
    office.create("t", &[&[3, 2, 1], &[3]]);
    assert_eq!(office.state("t", 0), (2, 0, vec![2, 1], 0));
    assert!(!office.tree.states.contains_key(&TopicPartition::new("t", 1)));
    office.brokers(&[(1, 100), (2, 100), (3, 200)]);
    assert_eq!(office.state("t", 1), (3, 0, vec![3], 0));
}

#[test]
fn a_topic_of_an_old_tool_gets_its_id_before_anything_else() {
    let mut office = Office::open(&[0], Loaded::default());
    let record = TopicRecord { id: None, ..topic("old", &[&[0]]) };
    let id = TopicId([9; 16]);
    office.tell(Event::Topics {
        all: [Arc::from("old")].into(),
        new: vec![record.clone()],
        fresh_ids: vec![id],
    });
    assert_eq!(office.tree.operations[0], Operation::SetTopic(TopicRecord { id: Some(id), ..record }));
    assert_eq!(office.controller.image().topic_name(id).map(|name| &**name), Some("old"));
    assert_eq!(office.state("old", 0), (0, 0, vec![0], 0));
}

#[test]
fn a_growing_topic_starts_only_its_new_partitions() {
    let mut office = Office::open(&[0], Loaded::default());
    office.create("t", &[&[0]]);
    office.tell(Event::TopicModified(topic("t", &[&[0], &[0]])));
    assert_eq!(office.sent(), ["0 lead t-1!:0@0", "0 know t-1:0 of 0"]);
}

#[test]
fn a_topic_is_deleted_when_its_replicas_are_gone() {
    let mut office = Office::open(&[0], Loaded::default());
    office.create("t", &[&[0]]);

    office.delete("t");

    assert_eq!(office.state("t", 0), (-1, 1, vec![0], 1));
    assert_eq!(office.sent(), ["0 know t-0:-2 of 0", "0 stop t-0@-2", "0 stop t-0!@-2"]);
    office.confirm_deletions(0);
    assert_eq!(office.tree.operations, [Operation::DeleteTopic(Arc::from("t"))]);
    assert!(office.controller.image().topics().is_empty());
    assert!(!office.controller.image().is_queued_for_deletion("t"));
}

#[test]
fn the_deletion_waits_for_a_replica_that_is_away() {
    let mut office = Office::open(&[0, 1, 2], Loaded::default());
    office.create("t", &[&[2, 1, 0]]);
    office.brokers(&[(0, 100), (1, 100)]);
    assert_eq!(office.state("t", 0), (1, 1, vec![1, 0], 1));

    office.delete("t");
    assert_eq!(office.state("t", 0), (-1, 3, vec![1], 3));
    office.confirm_deletions(1);
    let deleted = [TopicPartition::new("t", 0)].into();
    let event = Event::DeletionAnswered { broker: BrokerId(0), deleted, failed: BTreeSet::new() };
    office.tell(event);
    assert!(office.tree.topics.contains_key("t"), "broker 2 still has it");

    office.brokers(&[(0, 100), (1, 100), (2, 300)]);
    office.confirm_deletions(2);
    assert!(!office.tree.topics.contains_key("t"));
}

#[test]
fn wishes_to_delete_what_does_not_exist_are_dropped() {
    let mut office = Office::open(&[0], Loaded::default());
    office.delete("nothing");
    assert_eq!(office.tree.operations, [Operation::DropDeletion(Arc::from("nothing"))]);

    let loaded = Loaded { deletions: [Arc::from("gone")].into(), ..Loaded::default() };
    let office = Office::open(&[0], loaded);
    assert!(office.tree.deletions.is_empty());
}

#[test]
fn partitions_added_to_a_topic_being_deleted_are_taken_back() {
    let mut office = Office::open(&[0], Loaded::default());
    office.create("t", &[&[0]]);
    office.delete("t");
    office.tell(Event::TopicModified(topic("t", &[&[0], &[0]])));
    assert_eq!(office.tree.operations, [Operation::SetTopic(topic("t", &[&[0]]))]);
}

#[test]
fn leaders_move_away_from_a_dead_broker_and_it_leaves_the_in_sync_sets() {
    let mut office = Office::open(&[0, 1, 2], Loaded::default());
    office.create("t", &[&[2, 1], &[1, 2], &[2]]);

    office.brokers(&[(0, 100), (1, 100)]);

    assert_eq!(office.state("t", 0), (1, 1, vec![1], 1));
    assert_eq!(office.state("t", 1), (1, 1, vec![1], 1));
    assert_eq!(office.state("t", 2), (-1, 1, vec![2], 1), "its only replica stays in the set");

    office.brokers(&[(0, 100), (1, 100), (2, 300)]);
    assert_eq!(office.state("t", 2), (2, 2, vec![2], 2));
    assert_eq!(office.state("t", 0), (1, 1, vec![1], 1));
}

#[test]
fn a_bounced_broker_is_treated_as_gone_and_come_back() {
    let mut office = Office::open(&[0, 1], Loaded::default());
    office.create("t", &[&[1, 0]]);
    office.brokers(&[(0, 100), (1, 101)]);
    assert_eq!(office.state("t", 0), (0, 1, vec![0], 1));
    let epochs: Vec<_> = office.controller.image().brokers().values().map(|broker| broker.epoch).collect();
    assert_eq!(epochs, [100, 101]);
}

#[test]
fn a_state_changed_by_another_hand_is_read_again_before_it_is_overwritten() {
    let mut office = Office::open(&[0, 1], Loaded::default());
    office.create("t", &[&[1, 0]]);
    let state = office.tree.states.get_mut(&TopicPartition::new("t", 0)).expect("created");
    state.version = 5;
    state.leader_epoch = LeaderEpoch(3);
    office.brokers(&[(0, 100)]);
    assert_eq!(office.state("t", 0), (0, 4, vec![0], 6));
}

#[test]
fn a_new_controller_elects_where_the_leader_is_gone_and_tells_everyone_the_rest() {
    let mut first = Office::open(&[0, 1], Loaded::default());
    first.create("t", &[&[1, 0], &[0, 1]]);
    let loaded = Loaded {
        topics: first.tree.topics.values().cloned().collect(),
        leaderships: first.tree.states.clone(),
        ..Loaded::default()
    };
    let office = Office::open(&[0], loaded);
    assert_eq!(office.state("t", 0), (0, 2, vec![0], 2));
    assert_eq!(office.state("t", 1), (0, 1, vec![0], 1));
    assert_eq!(office.sent()[0], "0 know  of 0");
    assert!(office.sent().last().is_some_and(|last| last.starts_with("0 know t-0:0")));
    assert_eq!(office.notes, Vec::<String>::new());
}

/// Brokers 0, 1 and 2 hold `t-0` in sync, led by 0; its state was written at 99 and they registered at these epochs.
fn taken_over(epochs: [i64; 3]) -> Office {
    let mut first = Office::open(&[0, 1, 2], Loaded::default());
    first.create("t", &[&[0, 1, 2]]);
    let loaded = Loaded {
        topics: first.tree.topics.values().cloned().collect(),
        leaderships: first.tree.states.clone(),
        written: [(TopicPartition::new("t", 0), 99)].into(),
        brokers: (0..).zip(epochs).map(|(id, epoch)| broker(id, epoch)).collect(),
        ..Loaded::default()
    };
    Office::take_over(loaded)
}

#[test]
fn a_leader_that_restarted_between_two_controllers_gives_way_to_one_that_stayed() {
    let office = taken_over([120, 50, 60]);
    assert_eq!(office.state("t", 0), (1, 1, vec![1, 2], 1));
    // It hears of no epoch in which it leads.
    assert!(!office.sent().iter().any(|sent| sent.contains("t-0:0")), "{:?}", office.sent());
}

#[test]
fn a_follower_that_restarted_between_two_controllers_has_to_catch_up_again() {
    assert_eq!(taken_over([50, 60, 120]).state("t", 0), (0, 1, vec![0, 1], 1));
}

#[test]
fn where_all_restarted_the_leader_stays_in_an_epoch_of_its_own() {
    assert_eq!(taken_over([120, 121, 122]).state("t", 0), (0, 1, vec![0, 1, 2], 1));
    assert_eq!(taken_over([50, 60, 70]).state("t", 0), (0, 0, vec![0, 1, 2], 0));
}

#[test]
fn an_unclean_election_needs_the_topics_word() {
    let mut office = Office::open(&[0, 1], Loaded::default());
    office.create("t", &[&[0, 1]]);
    alter(&mut office, 0, isr_change("t", 0, &[0], 0)).expect("leader's word");
    office.brokers(&[(1, 100)]);
    assert_eq!(office.state("t", 0), (-1, 1, vec![0], 2));

    office.tree.unclean.insert(Arc::from("t"), true);
    office.tell(Event::UncleanElectionEnabled(Arc::from("t")));
    assert_eq!(office.state("t", 0), (1, 2, vec![1], 3));
    assert_eq!(office.tree.states[&TopicPartition::new("t", 0)].recovery, Recovery::Recovering);
}

#[test]
fn an_unclean_election_takes_place_once_it_is_allowed_by_default() {
    let mut office = Office::open(&[0, 1, 2], Loaded::default());
    office.create("t", &[&[0, 1]]);
    office.create("strict", &[&[0, 1]]);
    office.tree.unclean.insert(Arc::from("strict"), false);
    for topic in ["t", "strict"] {
        alter(&mut office, 0, isr_change(topic, 0, &[0], 0)).expect("leader's word");
    }
    office.brokers(&[(1, 100), (2, 100)]);

    office.tell(Event::UncleanElectionByDefault(true));
    assert_eq!(office.state("t", 0), (1, 2, vec![1], 3));
    assert_eq!(office.state("strict", 0).0, -1, "a topic's own word counts more");

    office.tell(Event::UncleanElectionByDefault(false));
    office.create("later", &[&[1, 2]]);
    alter(&mut office, 1, isr_change("later", 0, &[1], 0)).expect("leader's word");
    office.brokers(&[(2, 100)]);
    assert_eq!(office.state("later", 0).0, -1, "no longer allowed");
}

#[test]
fn a_leader_changes_its_in_sync_set_only_with_the_right_epochs() {
    let mut office = Office::open(&[0, 1], Loaded::default());
    office.create("t", &[&[0, 1]]);

    let shrunk = alter(&mut office, 0, isr_change("t", 0, &[0], 0)).expect("accepted");
    assert_eq!((shrunk.version, shrunk.leader_epoch), (1, LeaderEpoch(0)));
    assert_eq!(office.sent(), ["0 know t-0:0 of 0 1", "1 know t-0:0 of 0 1"]);
    let mut refused = |change| alter(&mut office, 0, change).expect_err("refused");
    assert_eq!(refused(isr_change("t", 0, &[0, 1], 0)), AlterRefusal::InvalidUpdateVersion);
    assert_eq!(refused(isr_change("t", 0, &[0, 1], 2)), AlterRefusal::NotController);
    assert_eq!(refused(isr_change("t", 1, &[0, 1], 1)), AlterRefusal::NotController);
    assert_eq!(refused(isr_change("t", -1, &[0, 1], 1)), AlterRefusal::FencedLeaderEpoch);
    assert_eq!(refused(isr_change("t", 0, &[0, 3], 1)), AlterRefusal::IneligibleReplica);
    assert_eq!(refused(isr_change("u", 0, &[0], 1)), AlterRefusal::UnknownPartition);
    let recovering = IsrChange { recovery: Recovery::Recovering, ..isr_change("t", 0, &[0], 1) };
    assert_eq!(refused(recovering), AlterRefusal::InvalidRecovery);
    let again = alter(&mut office, 0, isr_change("t", 0, &[0], 0)).expect("already so");
    assert_eq!(again.version, 1);

    office.brokers(&[(0, 101), (1, 100)]);
    let event = Event::AlterPartition {
        ticket: Ticket(2),
        broker: BrokerId(0),
        broker_epoch: 100,
        changes: vec![isr_change("t", 0, &[0, 1], 1)],
    };
    office.tell(event);
    assert_eq!(office.replies, [Reply::StaleBrokerEpoch]);
}

#[test]
fn who_restarted_since_it_was_in_sync_or_is_about_to_go_does_not_enter_the_in_sync_set() {
    let mut office = Office::open(&[0, 1], Loaded::default());
    office.create("t", &[&[0, 1]]);
    alter(&mut office, 0, isr_change("t", 0, &[0], 0)).expect("accepted");
    office.brokers(&[(0, 100), (1, 101)]);
    let with =
        |epoch| IsrChange { isr: vec![member(0, 100), member(1, epoch)], ..isr_change("t", 0, &[], 1) };

    for (told, why) in [(100, "it registered anew"), (102, "not registered as far as is known here")] {
        assert_eq!(alter(&mut office, 0, with(told)), Err(AlterRefusal::IneligibleReplica), "{why}");
    }
    let leave = Event::ControlledShutdown { ticket: Ticket(3), broker: BrokerId(1), broker_epoch: 101 };
    office.tell(leave);
    assert_eq!(alter(&mut office, 0, with(101)), Err(AlterRefusal::IneligibleReplica));

    office.brokers(&[(0, 100)]);
    office.brokers(&[(0, 100), (1, 103)]);
    assert_eq!(alter(&mut office, 0, with(103)).expect("as it is registered").isr.len(), 2);
}

#[test]
fn a_broker_that_shuts_down_hands_its_leaderships_over_first() {
    let mut office = Office::open(&[0, 1], Loaded::default());
    office.create("t", &[&[1, 0], &[0, 1], &[1]]);
    let leave =
        |epoch| Event::ControlledShutdown { ticket: Ticket(3), broker: BrokerId(1), broker_epoch: epoch };
    office.tell(leave(99));
    let stale = Reply::ControlledShutdown(Err(ShutdownRefusal::StaleBrokerEpoch));
    assert_eq!(office.replies, [stale]);

    office.tell(leave(100));

    assert_eq!(office.replies, [Reply::ControlledShutdown(Ok(BTreeSet::new()))]);
    assert_eq!(office.state("t", 0), (0, 1, vec![0], 1));
    assert_eq!(office.state("t", 1), (0, 1, vec![0], 1));
    assert_eq!(office.state("t", 2), (1, 0, vec![1], 0), "nobody else has it");
}

#[test]
fn preferred_leaders_come_back_when_asked_or_when_too_many_are_away() {
    let mut office = Office::open(&[0, 1], Loaded::default());
    office.create("t", &[&[1, 0]]);
    office.brokers(&[(0, 100)]);
    office.brokers(&[(0, 100), (1, 200)]);
    assert_eq!(office.state("t", 0).0, 0);
    office.tell(Event::BalanceLeaders);
    assert_eq!(office.state("t", 0).0, 0, "1 is not in sync yet");
    alter(&mut office, 0, isr_change("t", 1, &[0, 1], 1)).expect("in sync again");

    office.tell(Event::BalanceLeaders);
    assert_eq!(office.state("t", 0), (1, 2, vec![0, 1], 3));

    let name = TopicPartition::new("t", 0);
    let partitions = Some([name.clone(), TopicPartition::new("x", 0)].into());
    office.tell(Event::ElectLeaders { ticket: Ticket(4), kind: ElectionKind::Preferred, partitions });
    let expected = BTreeMap::from([
        (name, Err(ElectionRefusal::NotNeeded)),
        (TopicPartition::new("x", 0), Err(ElectionRefusal::UnknownPartition)),
    ]);
    assert_eq!(office.replies, [Reply::ElectLeaders(expected)]);
}

#[test]
fn a_replica_on_a_failed_disk_leaves_like_one_on_a_dead_broker() {
    let mut office = Office::open(&[0, 1], Loaded::default());
    office.create("t", &[&[1, 0], &[1, 0]]);
    let name = TopicPartition::new("t", 0);
    let offline = BTreeSet::from([name.clone()]);
    office.tell(Event::ReplicasAnswered { broker: BrokerId(1), online: BTreeSet::new(), offline });
    assert_eq!(office.state("t", 0), (0, 1, vec![0], 1));
    assert_eq!(office.state("t", 1), (1, 0, vec![1, 0], 0));

    let event = Event::LogDirsFailed { brokers: [BrokerId(1)].into(), notices: vec!["0".to_owned()] };
    office.tell(event);
    assert_eq!(office.tree.operations, [Operation::DropLogDirNotices(vec!["0".to_owned()])]);
    assert!(office.sent()[0].starts_with("1 lead t-0"));
}

#[test]
fn only_changed_endpoints_are_announced() {
    let mut office = Office::open(&[0], Loaded::default());
    office.tell(Event::BrokerModified(broker(0, 100)));
    assert_eq!(office.sent(), Vec::<String>::new());
    let endpoint = Endpoint {
        listener: "PLAINTEXT".to_owned(),
        host: "h".to_owned(),
        port: 1,
        protocol: SecurityProtocol::Plaintext,
    };
    office.tell(Event::BrokerModified(LiveBroker { endpoints: vec![endpoint], ..broker(0, 0) }));
    assert_eq!(office.sent(), ["0 know  of 0"]);
    assert_eq!(office.controller.image().brokers()[&BrokerId(0)].epoch, 100);
}
