//! The codec against another one: what `rumqttc` writes is read as it was meant, what is written
//! here `rumqttc` reads as it was meant, and bytes that are neither harm nobody.

use super::connect;
use super::properties::travelling;
use super::read::{Frame, Packet, PublishIn, frame, packet};
use super::write;
use crate::codec::connect::Version::{self, V3, V5};
use crate::message::{Delivery, Message};
use crate::topic::valid_name;
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use rumqttc::mqttbytes::{QoS, qos, v4};
use rumqttc::v5::mqttbytes::{QoS as QoS5, qos as qos5, v5};
use std::sync::Arc;
use std::time::{Duration, Instant};

const MAX: usize = 1 << 20;

/// The one packet that these bytes are.
fn only(bytes: &[u8]) -> (u8, &[u8]) {
    match frame(bytes, MAX) {
        Ok(Frame::Whole(head, body)) if body.end == bytes.len() => (head, &bytes[body]),
        other => panic!("not one packet: {other:?}"),
    }
}

fn read(version: Version, bytes: &[u8]) -> Packet<'_> {
    let (head, body) = only(bytes);
    packet(version, head, body).unwrap()
}

fn written4(p: &v4::Packet) -> Vec<u8> {
    let mut out = BytesMut::new();
    p.write(&mut out, MAX).unwrap();
    out.to_vec()
}

fn written5(p: &v5::Packet) -> Vec<u8> {
    let mut out = BytesMut::new();
    p.write(&mut out, None).unwrap();
    out.to_vec()
}

fn read4(bytes: &[u8]) -> v4::Packet {
    v4::Packet::read(&mut BytesMut::from(bytes), MAX).unwrap()
}

fn read5(bytes: &[u8]) -> v5::Packet {
    v5::Packet::read(&mut BytesMut::from(bytes), None).unwrap()
}

prop_compose! {
    fn name()(name in "[a-zäß☃ /$]{1,40}") -> String { name }
}

prop_compose! {
    fn text()(text in "[^\\x00]{0,20}") -> String { text }
}

fn payload() -> impl Strategy<Value = Bytes> {
    // Around the lengths where the length itself grows by a byte.
    let long = (any::<u8>(), 16_300usize..16_500).prop_map(|(byte, length)| vec![byte; length]);
    prop_oneof![prop::collection::vec(any::<u8>(), 0..200), long].prop_map(Bytes::from)
}

fn users() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec((text(), text()), 0..3)
}

prop_compose! {
    fn publish5()(
        (topic, payload, qos, id) in (name(), payload(), 0u8..3, 1u16..),
        (retain, dup) in any::<(bool, bool)>(),
        (format, expiry, response) in (prop::option::of(0u8..2), any::<Option<u32>>(), prop::option::of(name())),
        (correlation, content, users) in (any::<Option<Vec<u8>>>(), prop::option::of(text()), users()),
    ) -> v5::Publish {
        let properties = v5::PublishProperties {
            payload_format_indicator: format,
            message_expiry_interval: expiry,
            topic_alias: None,
            response_topic: response,
            correlation_data: correlation.map(Bytes::from),
            user_properties: users,
            subscription_identifiers: vec![],
            content_type: content,
        };
        v5::Publish {
            dup: dup && qos > 0,
            qos: qos5(qos).unwrap(),
            retain,
            topic: Bytes::from(topic),
            pkid: if qos > 0 { id } else { 0 },
            payload,
            properties: Some(properties),
        }
    }
}

prop_compose! {
    fn publish4()((topic, payload, quality, id, retain, dup) in (name(), payload(), 0u8..3, 1u16.., any::<bool>(), any::<bool>())) -> v4::Publish {
        let mut p = v4::Publish::new(topic, qos(quality).unwrap(), payload);
        (p.dup, p.retain, p.pkid) = (dup && quality > 0, retain, if quality > 0 { id } else { 0 });
        p
    }
}

/// What a PUBLISH becomes on its way to a subscriber that asked for all of it.
fn passed_on(p: &PublishIn<'_>) -> Delivery {
    let message = Message {
        topic: p.topic.into(),
        payload: Bytes::copy_from_slice(p.payload),
        properties: travelling(p.properties).into(),
        qos: p.qos,
        retain: p.retain,
        expires: p.expiry_s.map(|s| Instant::now() + Duration::from_secs(u64::from(s))),
        urgent: false,
    };
    Delivery { message: Arc::new(message), qos: p.qos, retain: p.retain, identifiers: None }
}

proptest! {
    #[test]
    fn a_publish_of_mqtt_3_is_read_and_written_as_it_was_meant(p in publish4()) {
        let bytes = written4(&v4::Packet::Publish(p.clone()));
        let Packet::Publish(ours) = read(V3, &bytes) else { panic!("no PUBLISH") };
        prop_assert_eq!((ours.topic, ours.payload, ours.qos, ours.packet_id), (p.topic.as_str(), &p.payload[..], p.qos as u8, p.pkid));
        prop_assert_eq!((ours.retain, ours.dup, ours.expiry_s, ours.properties), (p.retain, p.dup, None, &[][..]));
        let mut again = vec![];
        prop_assert!(write::publish(&mut again, V3, &passed_on(&ours), ours.packet_id, ours.dup, u32::MAX));
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn a_publish_of_mqtt_5_is_read_and_written_as_it_was_meant(p in publish5(), identifiers in prop::collection::vec(1u32..268_435_456, 0..3)) {
        let bytes = written5(&v5::Packet::Publish(p.clone()));
        let Packet::Publish(ours) = read(V5, &bytes) else { panic!("no PUBLISH") };
        prop_assert_eq!((ours.topic.as_bytes(), ours.payload, ours.qos, ours.packet_id), (&p.topic[..], &p.payload[..], p.qos as u8, p.pkid));
        prop_assert_eq!((ours.retain, ours.dup), (p.retain, p.dup));
        let properties = p.properties.clone().unwrap();
        prop_assert_eq!(ours.expiry_s, properties.message_expiry_interval);
        let mut delivery = passed_on(&ours);
        delivery.identifiers = (!identifiers.is_empty()).then(|| identifiers.clone().into());
        let mut again = vec![];
        prop_assert!(write::publish(&mut again, V5, &delivery, ours.packet_id, ours.dup, u32::MAX));
        let expected = v5::PublishProperties {
            subscription_identifiers: identifiers.iter().map(|id| *id as usize).collect(),
            // Less than a second has passed; one whose time is over is not sent at all.
            message_expiry_interval: properties.message_expiry_interval.map(|s| s.max(1)),
            ..properties
        };
        let none = expected == v5::PublishProperties::default();
        let expected = v5::Publish { properties: (!none).then_some(expected), ..p };
        prop_assert_eq!(read5(&again), v5::Packet::Publish(expected));
        // A client that takes no more than its own packet has takes it; one byte less, and it is left out.
        let size = again.len() as u32;
        prop_assert!(write::publish(&mut vec![], V5, &delivery, 1, false, size));
        let mut nothing = vec![];
        prop_assert!(!write::publish(&mut nothing, V5, &delivery, 1, false, size - 1) && nothing.is_empty());
    }

    #[test]
    fn a_connect_of_mqtt_3_is_read_as_it_was_meant(
        (id, keep_alive, clean, login) in (text(), any::<u16>(), any::<bool>(), any::<bool>()),
        will in prop::option::of((name(), prop::collection::vec(any::<u8>(), 0..50), 0u8..3, any::<bool>())),
    ) {
        let mut theirs = v4::Connect::new(id.clone());
        (theirs.keep_alive, theirs.clean_session) = (keep_alive, clean);
        theirs.last_will = will.clone().map(|(t, m, q, r)| v4::LastWill::new(t, m, qos(q).unwrap(), r));
        theirs.login = login.then(|| v4::Login::new("user", "secret"));
        let bytes = written4(&v4::Packet::Connect(theirs));
        let ours = connect::read(only(&bytes).1).unwrap();
        prop_assert_eq!((ours.version, ours.client_id, ours.keep_alive_s, ours.clean), (V3, id, keep_alive, clean));
        prop_assert_eq!(ours.expiry_s, if clean { 0 } else { u32::MAX });
        prop_assert_eq!(ours.will.map(|w| (w.topic, w.payload, w.qos, w.retain)), will);
    }

    #[test]
    fn a_connect_of_mqtt_5_is_read_as_it_was_meant(
        (id, keep_alive, clean_start, users) in (text(), any::<u16>(), any::<bool>(), users()),
        (expiry, receive, largest) in (any::<Option<u32>>(), prop::option::of(1u16..), prop::option::of(1u32..)),
        will in prop::option::of((name(), prop::collection::vec(any::<u8>(), 0..50), 0u8..3, any::<bool>())),
        (delay, will_expiry, will_users) in (any::<Option<u32>>(), any::<Option<u32>>(), users()),
    ) {
        let properties = v5::ConnectProperties {
            session_expiry_interval: expiry,
            receive_maximum: receive,
            max_packet_size: largest,
            topic_alias_max: Some(3),
            request_response_info: Some(1),
            request_problem_info: Some(0),
            user_properties: users,
            authentication_method: None,
            authentication_data: None,
        };
        let theirs = v5::Connect { keep_alive, client_id: id.clone(), clean_start, properties: Some(properties) };
        let last = will.clone().map(|(topic, message, q, retain)| {
            let properties = v5::LastWillProperties {
                delay_interval: delay,
                payload_format_indicator: Some(1),
                message_expiry_interval: will_expiry,
                content_type: None,
                response_topic: None,
                correlation_data: None,
                user_properties: will_users.clone(),
            };
            v5::LastWill::new(topic, message, qos5(q).unwrap(), retain, Some(properties))
        });
        let bytes = written5(&v5::Packet::Connect(theirs, last, None));
        let ours = connect::read(only(&bytes).1).unwrap();
        prop_assert_eq!((ours.version, ours.client_id, ours.keep_alive_s, ours.clean), (V5, id, keep_alive, clean_start));
        prop_assert_eq!((ours.expiry_s, ours.receive_max), (expiry.unwrap_or(0), receive.unwrap_or(u16::MAX)));
        prop_assert_eq!(ours.packet_max, largest.unwrap_or(u32::MAX));
        if let Some(w) = &ours.will {
            prop_assert_eq!((w.delay_s, w.expiry_s), (delay.unwrap_or(0), will_expiry));
            let users: usize = will_users.iter().map(|(k, v)| 5 + k.len() + v.len()).sum();
            prop_assert_eq!(w.properties.len(), 2 + users);
        }
        prop_assert_eq!(ours.will.map(|w| (w.topic, w.payload, w.qos, w.retain)), will);
    }

    #[test]
    fn subscribe_unsubscribe_and_disconnect_are_read_as_they_were_meant(
        filters in prop::collection::vec((name(), 0u8..3, any::<bool>(), any::<bool>(), 0u8..3), 1..6),
        (id, identifier, expiry) in (1u16.., prop::option::of(1usize..268_435_456), any::<u32>()),
    ) {
        let rule = |n| match n {
            0 => v5::RetainForwardRule::OnEverySubscribe,
            1 => v5::RetainForwardRule::OnNewSubscribe,
            _ => v5::RetainForwardRule::Never,
        };
        let theirs = filters.iter().map(|(path, q, local, keep, handling)| v5::Filter {
            path: path.clone(),
            qos: qos5(*q).unwrap(),
            nolocal: *local,
            preserve_retain: *keep,
            retain_forward_rule: rule(*handling),
        });
        let properties = Some(v5::SubscribeProperties { id: identifier, user_properties: vec![] });
        let bytes = written5(&v5::Packet::Subscribe(v5::Subscribe { pkid: id, filters: theirs.collect(), properties }));
        let Packet::Subscribe { packet_id, identifier: found, filters: ours } = read(V5, &bytes) else { panic!("no SUBSCRIBE") };
        prop_assert_eq!((packet_id, found), (id, identifier.map(|i| i as u32)));
        let options = |(q, l, k, h): (u8, bool, bool, u8)| q | u8::from(l) << 2 | u8::from(k) << 3 | h << 4;
        let expected: Vec<(&str, u8)> = filters.iter().map(|(f, q, l, k, h)| (f.as_str(), options((*q, *l, *k, *h)))).collect();
        prop_assert_eq!(ours, expected);

        let theirs = filters.iter().map(|(path, q, ..)| v4::SubscribeFilter::new(path.clone(), qos(*q).unwrap())).collect();
        let bytes = written4(&v4::Packet::Subscribe(v4::Subscribe { pkid: id, filters: theirs }));
        let Packet::Subscribe { packet_id, filters: ours, .. } = read(V3, &bytes) else { panic!("no SUBSCRIBE") };
        prop_assert_eq!(packet_id, id);
        prop_assert_eq!(ours, filters.iter().map(|(f, q, ..)| (f.as_str(), *q)).collect::<Vec<_>>());

        let names: Vec<String> = filters.iter().map(|(f, ..)| f.clone()).collect();
        let bytes = written4(&v4::Packet::Unsubscribe(v4::Unsubscribe { pkid: id, topics: names.clone() }));
        let Packet::Unsubscribe { packet_id, filters: ours } = read(V3, &bytes) else { panic!("no UNSUBSCRIBE") };
        prop_assert_eq!((packet_id, &ours[..]), (id, &names.iter().map(String::as_str).collect::<Vec<_>>()[..]));

        let properties = v5::DisconnectProperties { session_expiry_interval: Some(expiry), reason_string: None, user_properties: vec![], server_reference: None };
        let theirs = v5::Disconnect { reason_code: v5::DisconnectReasonCode::DisconnectWithWillMessage, properties: Some(properties) };
        let bytes = written5(&v5::Packet::Disconnect(theirs));
        let Packet::Disconnect { code, expiry_s } = read(V5, &bytes) else { panic!("no DISCONNECT") };
        prop_assert_eq!((code, expiry_s), (4, Some(expiry)));
    }

    #[test]
    fn answers_are_understood_as_they_were_meant(id in 1u16.., count in 1usize..300, present: bool, refused: bool) {
        let code = if refused { 0x97 } else { 0 };
        let reason = if refused { v5::PubAckReason::QuotaExceeded } else { v5::PubAckReason::Success };
        let mut out = vec![];
        write::ack(&mut out, V5, write::PUBACK, id, code);
        prop_assert_eq!(read5(&out), v5::Packet::PubAck(v5::PubAck { pkid: id, reason, properties: None }));
        out.clear();
        write::refusal(&mut out, write::PUBACK, id, 0x97, "why");
        let told = v5::PubAckProperties { reason_string: Some("why".into()), user_properties: vec![] };
        let refused = v5::PubAck { pkid: id, reason: v5::PubAckReason::QuotaExceeded, properties: Some(told) };
        prop_assert_eq!(read5(&out), v5::Packet::PubAck(refused));
        out.clear();
        write::ack(&mut out, V3, write::PUBACK, id, code);
        prop_assert_eq!(read4(&out), v4::Packet::PubAck(v4::PubAck::new(id)));
        out.clear();
        let codes: Vec<u8> = [0, 1, 0x8f, 0x97, 0x9e].into_iter().cycle().take(count).collect();
        write::suback(&mut out, V5, write::SUBACK, id, &codes);
        let v5::Packet::SubAck(suback) = read5(&out) else { panic!("no SUBACK") };
        let meant = [
            v5::SubscribeReasonCode::Success(QoS5::AtMostOnce),
            v5::SubscribeReasonCode::Success(QoS5::AtLeastOnce),
            v5::SubscribeReasonCode::TopicFilterInvalid,
            v5::SubscribeReasonCode::QuotaExceeded,
            v5::SubscribeReasonCode::SharedSubscriptionsNotSupported,
        ];
        prop_assert_eq!((suback.pkid, suback.return_codes), (id, meant.into_iter().cycle().take(count).collect::<Vec<_>>()));
        out.clear();
        let codes: Vec<u8> = [0, 1, 0x80].into_iter().cycle().take(count).collect();
        write::suback(&mut out, V3, write::SUBACK, id, &codes);
        let v4::Packet::SubAck(suback) = read4(&out) else { panic!("no SUBACK") };
        let meant = [
            v4::SubscribeReasonCode::Success(QoS::AtMostOnce),
            v4::SubscribeReasonCode::Success(QoS::AtLeastOnce),
            v4::SubscribeReasonCode::Failure,
        ];
        prop_assert_eq!((suback.pkid, suback.return_codes), (id, meant.into_iter().cycle().take(count).collect::<Vec<_>>()));
        out.clear();
        write::welcome(&mut out, V5, present, 4_096, Some("chosen"));
        let v5::Packet::ConnAck(connack) = read5(&out) else { panic!("no CONNACK") };
        let offers = connack.properties.unwrap();
        prop_assert_eq!((connack.session_present, connack.code), (present, v5::ConnectReturnCode::Success));
        prop_assert_eq!((offers.receive_max, offers.max_packet_size, offers.topic_alias_max), (Some(crate::limits::RECEIVE_MAX), Some(4_096), Some(0)));
        prop_assert_eq!((offers.shared_subscription_available, offers.assigned_client_identifier.as_deref()), (Some(0), Some("chosen")));
        out.clear();
        write::turn_away(&mut out, V5, 0x97);
        let v5::Packet::ConnAck(connack) = read5(&out) else { panic!("no CONNACK") };
        prop_assert_eq!((connack.session_present, connack.code), (false, v5::ConnectReturnCode::QuotaExceeded));
        out.clear();
        write::disconnect(&mut out, V5, 0x8b);
        let v5::Packet::Disconnect(disconnect) = read5(&out) else { panic!("no DISCONNECT") };
        prop_assert_eq!(disconnect.reason_code, v5::DisconnectReasonCode::ServerShuttingDown);
    }

    /// Changed bytes are refused, or mean to both the same. `rumqttc` is laxer, so what it takes
    /// is not all taken here.
    #[test]
    fn a_changed_publish_is_refused_or_means_the_same_to_both(
        p in publish5(),
        five: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = match five {
            true => written5(&v5::Packet::Publish(p)),
            false => {
                let mut four = v4::Publish::new(std::str::from_utf8(&p.topic).unwrap(), qos(p.qos as u8).unwrap(), p.payload);
                (four.dup, four.retain, four.pkid) = (p.dup, p.retain, p.pkid);
                written4(&v4::Packet::Publish(four))
            }
        };
        for (at, byte) in changes {
            let at = at.index(bytes.len().min(60));
            bytes[at] = byte;
        }
        bytes.truncate(cut.map_or(bytes.len(), |c| c.index(bytes.len())));
        let whole = match frame(&bytes, MAX) {
            Ok(Frame::Whole(head, body)) => Some((head, body)),
            _ => None,
        };
        if let Some((head, body)) = whole {
            let end = body.end;
            match packet(if five { V5 } else { V3 }, head, &bytes[body]) {
                Ok(Packet::Publish(ours)) if five => {
                    let v5::Packet::Publish(theirs) = read5(&bytes[..end]) else { panic!("no PUBLISH") };
                    prop_assert_eq!((ours.topic.as_bytes(), ours.payload), (&theirs.topic[..], &theirs.payload[..]));
                    prop_assert_eq!((ours.qos, ours.packet_id, ours.dup, ours.retain), (theirs.qos as u8, theirs.pkid, theirs.dup, theirs.retain));
                    prop_assert_eq!(ours.expiry_s, theirs.properties.and_then(|p| p.message_expiry_interval));
                    prop_assert!(valid_name(ours.topic));
                }
                Ok(Packet::Publish(ours)) => {
                    let v4::Packet::Publish(theirs) = read4(&bytes[..end]) else { panic!("no PUBLISH") };
                    prop_assert_eq!((ours.topic, ours.payload), (theirs.topic.as_str(), &theirs.payload[..]));
                    prop_assert_eq!((ours.qos, ours.packet_id, ours.dup, ours.retain), (theirs.qos as u8, theirs.pkid, theirs.dup, theirs.retain));
                    prop_assert!(valid_name(ours.topic));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn packets_one_after_the_other_are_told_apart_however_they_are_cut(
        publishes in prop::collection::vec(publish4(), 1..6),
        step in 1usize..5_000,
    ) {
        let packets: Vec<Vec<u8>> = publishes.into_iter().map(|p| written4(&v4::Packet::Publish(p))).collect();
        let stream = packets.concat();
        let (mut at, mut have, mut found) = (0, 0, vec![]);
        while found.len() < packets.len() {
            match frame(&stream[at..have], MAX).unwrap() {
                Frame::Whole(_, body) => {
                    found.push(stream[at..at + body.end].to_vec());
                    at += body.end;
                }
                Frame::Needs(more) => {
                    // It never asks for more than there is.
                    prop_assert!(have + more <= stream.len());
                    have = (have + step.max(1)).min(stream.len());
                }
            }
        }
        prop_assert_eq!(found, packets);
    }
}
