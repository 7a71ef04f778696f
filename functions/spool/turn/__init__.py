"""One turn, whatever crashes: the protocol between the queue, the bucket, the conversation's document and Slack.

    take ──► admission ──► loop ──► open / resume ──► run ──► finish ──► deliver ──► release
    200 or     lease,      decide                    the agent,  one commit:   update      answered keys,
    a baton    inbox                                 journalled  the reply     the slots   lease away

Nothing is remembered but in the transcript, so *resuming is running again from the top*: every step asks the transcript
whether it was done. Five rules hold it together; each module says which it keeps.

    R1 task      a task is acked only when its message is answered, or another task carries it            take
    R2 arbiter   the transcript, written only at the generation it was read at, decides; any doubt: reload  book
    R3 slots     reserve a message, record it with the reply, then fill it; never post an answer            slots, delivery
    R4 epoch     whoever goes on with another's turn raises its epoch first and deletes only what is garbage loop, slots
    R5 intent    a tool runs only after the response that asks for it is committed                         journal
"""
