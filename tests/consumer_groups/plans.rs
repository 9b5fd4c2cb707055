//! Random problems, solved by Kafka's own assignors and by ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coordinator::groups::consumer::assignors::{Assignment, Assignor, Candidate, Problem, assign};
use storage::types::TopicId;

use crate::support::stock::{checkout, tool};

const PROBLEMS: usize = 3_000;

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % end.max(1)
    }

    fn id(&mut self) -> TopicId {
        let mut id = [0; 16];
        id.iter_mut().for_each(|byte| *byte = u8::try_from(self.below(256)).expect("a byte"));
        TopicId(id)
    }
}

fn problem(random: &mut Random) -> Problem {
    let topics: Vec<(TopicId, i32)> = (0..1 + random.below(5))
        .map(|_| (random.id(), i32::try_from(random.below(40)).expect("few")))
        .collect();
    let homogeneous = random.below(2) == 0;
    let first: BTreeSet<TopicId> =
        topics.iter().filter(|_| random.below(3) > 0).map(|(topic, _)| *topic).collect();
    let many = random.below(8) == 0;
    let members = 1 + random.below(if many { 60 } else { 8 });
    let mut candidates: Vec<Candidate> = Vec::new();
    for number in 0..members {
        let wanted = topics.iter().filter(|_| random.below(3) > 0).map(|(topic, _)| *topic).collect();
        let topics = if homogeneous { first.clone() } else { wanted };
        let fixed = random.below(4) == 0;
        candidates.push(Candidate {
            member_id: Arc::from(format!("{}-{number}", random.id())),
            instance_id: fixed.then(|| Arc::from(format!("instance-{}", random.below(100) * 1_000 + number))),
            names: topics.len(),
            topics,
            planned: Assignment::new(),
        });
    }
    candidates.sort_by(|one, other| one.member_id.cmp(&other.member_id));
    let mut taken = BTreeSet::new();
    if random.below(3) > 0 {
        for (topic, count) in &topics {
            for partition in 0..*count {
                // The rest belonged to members that have left.
                let owner = random.below(candidates.len() + 1);
                if let Some(owner) = candidates.get_mut(owner) {
                    owner.planned.entry(*topic).or_default().insert(partition);
                    taken.insert((*topic, partition));
                }
            }
        }
    }
    let sets: BTreeSet<&BTreeSet<TopicId>> = candidates.iter().map(|candidate| &candidate.topics).collect();
    let homogeneous = sets.len() == 1;
    Problem { homogeneous, partitions: topics.into_iter().collect(), taken, candidates }
}

/// `topic:partition.partition` of each topic, separated by slashes.
fn written(assignment: &Assignment) -> String {
    let topics = assignment.iter().map(|(topic, partitions)| {
        let partitions: Vec<String> = partitions.iter().map(i32::to_string).collect();
        format!("{topic}:{}", partitions.join("."))
    });
    topics.collect::<Vec<_>>().join("/")
}

/// One line: the assignor, the topics, and each member with its instance id, topics and plan.
fn question(assignor: Assignor, problem: &Problem) -> String {
    let topics = problem.partitions.iter().map(|(topic, count)| format!("{topic}:{count}"));
    let topics: Vec<String> = topics.collect();
    let mut words =
        vec![assignor.name().to_string(), if problem.homogeneous { "same" } else { "different" }.into()];
    words.push(topics.join("/"));
    for candidate in &problem.candidates {
        let subscribed: Vec<String> = candidate.topics.iter().map(TopicId::to_string).collect();
        words.push(format!(
            "{},{},{},{}",
            candidate.member_id,
            candidate.instance_id.as_deref().unwrap_or(""),
            subscribed.join("/"),
            written(&candidate.planned)
        ));
    }
    words.join(" ")
}

fn answer(plan: &BTreeMap<Arc<str>, Assignment>) -> String {
    let parts = plan.iter().filter(|(_, part)| !part.is_empty());
    parts.map(|(member, part)| format!("{member}={}", written(part))).collect::<Vec<_>>().join(" ")
}

pub(crate) fn compare() {
    let mut random = Random(848);
    let problems: Vec<(Assignor, Problem)> = (0..PROBLEMS)
        .map(|number| {
            let assignor = if number % 3 == 0 { Assignor::Range } else { Assignor::Uniform };
            (assignor, problem(&mut random))
        })
        .collect();
    let questions: String =
        problems.iter().map(|(assignor, problem)| format!("{}\n", question(*assignor, problem))).collect();
    let source = checkout().join("tests/clients/java/Assignors.java").display().to_string();
    let answers = tool("3.9.1", &source, &[], &questions).success();
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), PROBLEMS);
    let mut given_up = 0;
    for ((assignor, problem), kafkas) in problems.iter().zip(answers) {
        // Where partitions of a topic would move between two members both ways; see docs/decisions/consumer-groups.md.
        if kafkas == "exception" {
            given_up += 1;
            continue;
        }
        let ours = answer(&assign(*assignor, problem));
        assert_eq!(ours, kafkas, "{}", question(*assignor, problem));
    }
    assert!(given_up < PROBLEMS / 4, "Kafka gave up {given_up} times; that leaves too little to compare");
}
