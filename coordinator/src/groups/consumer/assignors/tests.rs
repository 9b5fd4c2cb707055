//! What the assignors promise, whatever Kafka's own do; `tests/consumer_groups.rs` at the top compares with those.

use proptest::prelude::*;

use super::*;

fn topic(number: u8) -> TopicId {
    TopicId([number; 16])
}

fn candidate(id: &str, topics: &[u8]) -> Candidate {
    Candidate {
        member_id: Arc::from(id),
        instance_id: None,
        topics: topics.iter().copied().map(topic).collect(),
        names: topics.len(),
        planned: Assignment::new(),
    }
}

fn problem(candidates: Vec<Candidate>, partitions: &[(u8, i32)]) -> Problem {
    let homogeneous = candidates.windows(2).all(|pair| pair[0].topics == pair[1].topics);
    let taken = candidates.iter().flat_map(|candidate| {
        let planned = candidate.planned.iter();
        planned.flat_map(|(topic, all)| all.iter().map(|partition| (*topic, *partition)))
    });
    let taken = taken.collect();
    let partitions = partitions.iter().map(|(number, count)| (topic(*number), *count)).collect();
    Problem { candidates, partitions, homogeneous, taken }
}

fn shown(plan: &BTreeMap<MemberId, Assignment>) -> Vec<String> {
    let of = |assignment: &Assignment| {
        let topics = assignment.iter().map(|(topic, partitions)| format!("{}:{partitions:?}", topic.0[0]));
        topics.collect::<Vec<_>>().join(" ")
    };
    plan.iter().map(|(member, assignment)| format!("{member} {}", of(assignment))).collect()
}

#[test]
fn range_gives_consecutive_partitions_and_static_members_come_first() {
    let mut fixed = candidate("z", &[1, 2]);
    fixed.instance_id = Some(Arc::from("i"));
    let problem = problem(vec![candidate("a", &[1]), candidate("b", &[1, 2]), fixed], &[(1, 5), (2, 3)]);
    let plan = shown(&assign(Assignor::Range, &problem));
    assert_eq!(plan, ["a 1:{2, 3}", "b 1:{4} 2:{2}", "z 1:{0, 1} 2:{0, 1}"]);
}

#[test]
fn uniform_moves_only_what_a_newcomer_is_owed() {
    let mut one = candidate("a", &[1]);
    one.planned.insert(topic(1), (0..4).collect());
    let problem = problem(vec![one, candidate("b", &[1])], &[(1, 4)]);
    let plan = shown(&assign(Assignor::Uniform, &problem));
    assert_eq!(plan, ["a 1:{0, 1}", "b 1:{2, 3}"]);
}

#[test]
fn the_tables_of_java_are_rebuilt() {
    assert_eq!(text_hash("range"), 108_280_125);
    assert_eq!(text_hash("uniform"), -286_926_412);
    let order = in_hash_order([0, 16, 1, 33], |number| *number, table_grown(4));
    assert_eq!(order, [0, 16, 1, 33]);
    assert_eq!((table_grown(12), table_grown(13), table_grown(24), table_grown(25)), (16, 32, 32, 64));
}

fn problems() -> impl Strategy<Value = Problem> {
    let topics = prop::collection::vec(0_i32..12, 1..5);
    let members = prop::collection::vec((prop::collection::btree_set(0_u8..5, 0..5), any::<bool>()), 1..9);
    (topics, members, any::<bool>(), any::<u64>()).prop_map(|(counts, members, homogeneous, seed)| {
        let counts: Vec<(u8, i32)> = (0_u8..).zip(counts).collect();
        let mut random = seed | 1;
        let mut draw = move |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(random >> 40).unwrap_or(0) % below.max(1)
        };
        let first = members[0].0.clone();
        let known = |wanted: &BTreeSet<u8>| {
            wanted.iter().copied().filter(|number| usize::from(*number) < counts.len()).collect::<Vec<_>>()
        };
        let mut candidates: Vec<Candidate> = (0..)
            .zip(&members)
            .map(|(at, (wanted, fixed))| {
                let topics = known(if homogeneous { &first } else { wanted });
                let mut candidate = candidate(&format!("member-{at}"), &topics);
                candidate.instance_id = fixed.then(|| Arc::from(format!("instance-{}", 9 - at)));
                candidate
            })
            .collect();
        for (number, count) in &counts {
            for partition in 0..*count {
                let owner = draw(candidates.len() + 2);
                if let Some(owner) = candidates.get_mut(owner) {
                    owner.planned.entry(topic(*number)).or_default().insert(partition);
                }
            }
        }
        problem(candidates, &counts)
    })
}

proptest! {
    #[test]
    fn every_partition_has_one_subscriber_as_its_owner(problem in problems()) {
        for assignor in [Assignor::Range, Assignor::Uniform] {
            let plan = assign(assignor, &problem);
            let mut owned = BTreeSet::new();
            for (member, assignment) in &plan {
                let candidate = problem.candidates.iter().find(|it| it.member_id == *member);
                let candidate = candidate.expect("a member");
                for (topic, partitions) in assignment {
                    prop_assert!(candidate.topics.contains(topic), "{member} subscribes to what it gets");
                    prop_assert!(!partitions.is_empty());
                    for partition in partitions {
                        prop_assert!(owned.insert((*topic, *partition)), "one owner each");
                    }
                }
            }
            let subscribed: BTreeSet<TopicId> =
                problem.candidates.iter().flat_map(|candidate| candidate.topics.iter().copied()).collect();
            let all: usize =
                subscribed.iter().map(|topic| usize::try_from(problem.partitions[topic]).unwrap()).sum();
            prop_assert_eq!(owned.len(), all, "nothing is left over");
            if assignor == Assignor::Uniform && problem.homogeneous {
                let sizes = problem.candidates.iter().map(|candidate| {
                    let part = plan.get(&candidate.member_id);
                    part.map_or(0, |part| part.values().map(BTreeSet::len).sum::<usize>())
                });
                let sizes: Vec<usize> = sizes.collect();
                prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
            }
        }
    }
}
