-- Copies: a delivery like one that is offered is found however often its event was repeated. The first delivery
-- of an event, which is most of them, is not in this index.

CREATE INDEX deliveries_repeated ON deliveries (event, received_at) WHERE verdict <> 'accepted';
